#if defined(__x86_64__)

#include "kernels/cpu/avx2/int8_matmul.h"
#include "kernels/cpu/avx2/int8_peak.h"
#include "kernels/cpu/avx2/ints.h"
#include "kernels/cpu/avx2/vec.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vector/attention.h"
#include "kernels/cpu/vector/delta.h"
#include "kernels/cpu/vector/rows.h"

namespace flashmoe::avx2 {
namespace {

int32_t sum_lanes(__m256i a) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

// Bit for bit what scalar computes: the inverse is multiplied, and rounding is to nearest even.
void quantise_activations(const float* x, int64_t n, int64_t cols, int8_t* q8, float* scale, float* sum) noexcept {
  for (int64_t block = 0; block < n * cols / kActivationBlock; ++block, x += 32, q8 += 32) {
    const Vec v[4] = {load(x), load(x + 8), load(x + 16), load(x + 24)};
    const float largest = max_lane(max(max(abs(v[0]), abs(v[1])), max(abs(v[2]), abs(v[3]))));
    const bool is_zero = largest < 1e-30f;
    const Vec inverse = broadcast(is_zero ? 0.0f : 127.0f / largest);
    __m256i q[4];
    for (int j = 0; j < 4; ++j) q[j] = _mm256_cvtps_epi32((v[j] * inverse).v);
    const __m256i total = _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
    // The packs work within 128-bit halves: 4-byte pieces come out as 0 2 4 6 | 1 3 5 7.
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q8), ordered);
    scale[block] = is_zero ? 0.0f : largest / 127.0f;
    sum[block] = scale[block] * static_cast<float>(sum_lanes(total));
  }
}

}  // namespace

void set_entries(KernelTable& table) {
  set_rows(table);
  set_delta(table);
  set_attention(table);
  set_exact_matmuls(table);
  table.quantise_activations = quantise_activations;
  table.int8_peak = int8_peak;
  set_fast_matmuls(table);
}

}  // namespace flashmoe::avx2

#endif
