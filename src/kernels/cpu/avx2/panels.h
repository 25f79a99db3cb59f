// Weights unpacked once for many rows of activations, AVX2: 16 rows of some columns, block after block.
#pragma once

#include "kernels/cpu/avx2/block_products.h"
#include "kernels/cpu/vector/weights_ahead.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kColsOfPanel = 1024;  // which stay in L1 while rows of activations pass

// 32 columns of 16 weight rows, as a Half gives 8.
template <PanelForm kForm>
struct PanelBlock {
  alignas(32) uint8_t q[8][64];  // [8 fours][16 rows, 4 columns]
  float scale[16];
  float min[kForm.has_min || kForm.has_fine_min ? 16 : 0];
  int32_t fine[kForm.bytes.has_fine ? 2 : 0][16];  // a 16-bit factor twice
  int32_t fine_pair[kForm.bytes.has_fine ? 16 : 0];
};

template <PanelForm kFormOfBlock>
struct PanelHalf {
  static constexpr PanelForm kForm = kFormOfBlock;
  const PanelBlock<kForm>& of;
  int half;

  __m256i four(int k) const { return load32(of.q[k] + 32 * half); }
  __m256 scale() const { return _mm256_loadu_ps(of.scale + 8 * half); }
  __m256 min() const { return _mm256_loadu_ps(of.min + 8 * half); }
  __m256i fine(int j) const { return load32(of.fine[j] + 8 * half); }
  __m256i fine_pair() const { return load32(of.fine_pair + 8 * half); }
};

template <typename Half>
inline void store_half(const Half& w, int half, PanelBlock<Half::kForm>* to) {
  constexpr PanelForm kForm = Half::kForm;
  const auto put = [half](int32_t* at, __m256i words) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + 8 * half), words);
  };
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(to->q[k] + 32 * half), w.four(k));
  _mm256_storeu_ps(to->scale + 8 * half, w.scale());
  if constexpr (kForm.has_min || kForm.has_fine_min) _mm256_storeu_ps(to->min + 8 * half, w.min());
  if constexpr (kForm.bytes.has_fine) {
    put(to->fine[0], w.fine(0));
    put(to->fine[1], w.fine(1));
    put(to->fine_pair, w.fine_pair());
  }
}

// A panel [n_blocks] times all activations of a pass. Asks for the next one's weights meanwhile.
template <PanelForm kForm>
inline void multiply_panel(const PanelBlock<kForm>* panel, int64_t n_blocks, PackedActivations<kForm>& x,
                           const Results& to, WeightsAhead next) {
  x.over_groups([&]<int M>(int64_t row, const PackedBlock<M>* blocks) {
    __m256 totals[2][M];
    to.read(row, totals);
    for (int64_t b = 0; b < n_blocks; ++b) {
      asm("" : "+m"(totals));  // in memory: the registers are full of sums
      next.prefetch();
      const PanelHalf<kForm> halves[2] = {{panel[b], 0}, {panel[b], 1}};
      add_block(halves, blocks[b], totals, [](int, const __m256i&) {});
    }
    to.write(row, totals);
  });
}

}  // namespace flashmoe::FLASHMOE_ISA
