#include "experts/source.h"

#include <algorithm>

namespace flashmoe {

uint64_t ExpertTable::bytes() const {
  uint64_t sum = 0;
  for (const ExpertRecord& record : records) sum += record.bytes();
  return sum;
}

bool ExpertTable::reads_float_activations() const {
  const auto is_float = [](const ExpertMatrix& m) { return format_info(m.format).is_float; };
  return std::any_of(records.begin(), records.end(), [&](const ExpertRecord& record) {
    return is_float(record.gate) || is_float(record.up) || is_float(record.down);
  });
}

}  // namespace flashmoe
