#include "kernels/cpu/tables.h"

namespace flashmoe::scalar {
namespace {

int64_t int8_peak(int64_t n_rounds, int32_t* sink) noexcept {
  constexpr int kValues = 64;
  int8_t x[kValues];
  for (int i = 0; i < kValues; ++i) x[i] = -2;
  int32_t sum = 0;
  for (int64_t round = 0; round < n_rounds; ++round) {
    asm volatile("" : : "r"(x) : "memory");  // else the sum is computed once
    for (const int8_t value : x) sum += 3 * value;
  }
  *sink = sum;
  return n_rounds * kValues;
}

}  // namespace

void set_int8_peak(KernelTable& table) { table.int8_peak = int8_peak; }

}  // namespace flashmoe::scalar
