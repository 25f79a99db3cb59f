#include "quant/encode/rows.h"

namespace flashmoe {

EncoderTable baseline_encoders() noexcept {
  EncoderTable table;
  set_encoders(table);
  return table;
}

}  // namespace flashmoe
