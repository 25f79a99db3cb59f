// The same source compiled for AVX2 (src/CMakeLists.txt).
#include "quant/encode/rows.h"

namespace flashmoe {

EncoderTable avx2_encoders() noexcept {
  EncoderTable table;
  set_encoders(table);
  return table;
}

}  // namespace flashmoe
