#include "experts/source.h"

namespace flashmoe {

uint64_t ExpertTable::bytes() const {
  uint64_t sum = 0;
  for (const ExpertRecord& record : records) sum += record.bytes();
  return sum;
}

}  // namespace flashmoe
