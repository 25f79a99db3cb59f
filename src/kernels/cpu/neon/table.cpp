#if defined(__aarch64__)

#include "kernels/cpu/neon/int8_matmul.h"
#include "kernels/cpu/neon/int8_peak.h"
#include "kernels/cpu/neon/ints.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vector/attention.h"
#include "kernels/cpu/vector/delta.h"
#include "kernels/cpu/vector/rows.h"

namespace flashmoe::neon {
namespace {

// Bit for bit what scalar computes: the inverse is multiplied, and rounding is to nearest even.
void quantise_activations(const float* x, int64_t n, int64_t cols, int8_t* q8, float* scale, float* sum) noexcept {
  for (int64_t block = 0; block < n * cols / kActivationBlock; ++block, x += 32, q8 += 32) {
    Vec largest_of = zero();
    for (int j = 0; j < 8; ++j) largest_of = max(abs(load(x + 4 * j)), largest_of);
    const float largest = max_lane(largest_of);
    const bool is_zero = largest < 1e-30f;
    const Vec inverse = broadcast(is_zero ? 0.0f : 127.0f / largest);
    int32x4_t total = vdupq_n_s32(0);
    for (int j = 0; j < 4; ++j) {
      const int32x4_t low = vcvtnq_s32_f32((load(x + 8 * j) * inverse).v);
      const int32x4_t high = vcvtnq_s32_f32((load(x + 8 * j + 4) * inverse).v);
      total = vaddq_s32(total, vaddq_s32(low, high));
      vst1_s8(q8 + 8 * j, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
    }
    scale[block] = is_zero ? 0.0f : largest / 127.0f;
    sum[block] = scale[block] * static_cast<float>(vaddvq_s32(total));
  }
}

}  // namespace

void set_entries(KernelTable& table) {
  set_rows(table);
  set_delta(table);
  set_attention(table);
  set_exact_matmuls(table);
  set_fast_matmuls(table);
  table.quantise_activations = quantise_activations;
  table.int8_peak = int8_peak;
}

}  // namespace flashmoe::neon

#endif
