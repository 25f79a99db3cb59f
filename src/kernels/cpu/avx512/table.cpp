#if defined(__x86_64__)

#include "kernels/cpu/avx512/int8_matmul.h"
#include "kernels/cpu/avx512/int8_peak.h"
#include "kernels/cpu/avx512/interleaved_apart.h"
#include "kernels/cpu/avx512/ints.h"
#include "kernels/cpu/avx512/scaled_row.h"
#include "kernels/cpu/avx512/vec.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vector/attention.h"
#include "kernels/cpu/vector/delta.h"
#include "kernels/cpu/vector/matmul.h"
#include "kernels/cpu/vector/quantise.h"
#include "kernels/cpu/vector/rows.h"

namespace flashmoe::avx512 {
namespace {

template <typename Block, typename Source = InterleavedRows<Block>>
void set_interleaved(KernelTable& table, Format format) {
  table.interleave[static_cast<size_t>(format)] = interleave<RowColumns<Block>>;
  table.matmul_interleaved[static_cast<size_t>(format)] = int8_matmul<Source>;
}
template <typename Block>
void set_interleaved_apart(KernelTable& table, Format format) {
  set_interleaved<Block, RowsApart<Block>>(table, format);
}

}  // namespace

void set_entries(KernelTable& table) {
  set_rows(table);
  set_delta(table);
  set_attention(table);
  set_exact_matmuls(table);
  table.quantise_activations = quantise_activations;
  table.int8_peak = int8_peak;
  const auto set = [&table](Format format, Matmul entry) { table.matmul_fast[static_cast<int>(format)] = entry; };
  set(Format::q8_0, int8_matmul<BlockRow<BlockQ8_0>>);
  set(Format::q4_0, int8_matmul<BlockRow<BlockQ4_0>>);
  set(Format::q4_1, int8_matmul<BlockRow<BlockQ4_1>>);
  set(Format::q5_0, int8_matmul<BlockRow<BlockQ5_0>>);
  set(Format::q5_1, int8_matmul<BlockRow<BlockQ5_1>>);
  set(Format::iq4_nl, int8_matmul<BlockRow<BlockIQ4_NL>>);
  set(Format::mxfp4, int8_matmul<BlockRow<BlockMXFP4>>);
  set(Format::q2_k, int8_matmul<BlockRow<BlockQ2_K>>);
  set(Format::q3_k, int8_matmul<BlockRow<BlockQ3_K>>);
  set(Format::q4_k, int8_matmul<BlockRow<BlockQ4_K>>);
  set(Format::q5_k, int8_matmul<BlockRow<BlockQ5_K>>);
  set(Format::q6_k, int8_matmul<BlockRow<BlockQ6_K>>);
  set(Format::iq1_s, int8_matmul<BlockRow<BlockIQ1_S>>);
  set(Format::iq1_m, int8_matmul<BlockRow<BlockIQ1_M>>);
  set(Format::iq2_xxs, int8_matmul<BlockRow<BlockIQ2_XXS>>);
  set(Format::iq2_xs, int8_matmul<BlockRow<BlockIQ2_XS>>);
  set(Format::iq2_s, int8_matmul<BlockRow<BlockIQ2_S>>);
  set(Format::iq3_xxs, int8_matmul<BlockRow<BlockIQ3_XXS>>);
  set(Format::iq3_s, int8_matmul<BlockRow<BlockIQ3_S>>);
  set(Format::iq4_xs, int8_matmul<BlockRow<BlockIQ4_XS>>);
  set(Format::affine2, int8_matmul<AffineRow<2>>);
  set(Format::affine3, int8_matmul<AffineRow<3>>);
  set(Format::affine4, int8_matmul<AffineRow<4>>);
  set(Format::affine5, int8_matmul<AffineRow<5>>);
  set(Format::affine6, int8_matmul<AffineRow<6>>);
  set(Format::affine8, int8_matmul<AffineRow<8>>);
  set(Format::mxfp4_split, int8_matmul<Mxfp4SplitRow>);
  set_interleaved<BlockQ8_0>(table, Format::q8_0);
  set_interleaved<BlockQ2_K>(table, Format::q2_k);
  set_interleaved<BlockQ3_K>(table, Format::q3_k);
  set_interleaved<BlockQ4_K>(table, Format::q4_k);
  set_interleaved<BlockQ5_K>(table, Format::q5_k);
  set_interleaved<BlockQ6_K>(table, Format::q6_k);
  set_interleaved<BlockIQ4_XS>(table, Format::iq4_xs);
  set_interleaved_apart<BlockAffine<2>>(table, Format::affine2);
  set_interleaved_apart<BlockAffine<3>>(table, Format::affine3);
  set_interleaved_apart<BlockAffine<4>>(table, Format::affine4);
  set_interleaved_apart<BlockAffine<5>>(table, Format::affine5);
  set_interleaved_apart<BlockAffine<6>>(table, Format::affine6);
  set_interleaved_apart<BlockAffine<8>>(table, Format::affine8);
  set_interleaved_apart<BlockMXFP4Split>(table, Format::mxfp4_split);
}

}  // namespace flashmoe::avx512

#endif
