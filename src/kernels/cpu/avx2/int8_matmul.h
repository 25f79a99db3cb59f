// Matmuls on int8 activations with AVX2, as instructions of the including source have them: codebooks 8 rows at once
// (stored_rows.h), the others with rows in the lanes (interleaved_matmul.h).
#pragma once

#include "kernels/cpu/avx2/interleaved_matmul.h"
#include "kernels/cpu/avx2/stored_matmul.h"
#include "kernels/cpu/vector/matmul.h"

namespace flashmoe::FLASHMOE_ISA {

template <typename Block>
inline void set_interleaved(Format format, KernelTable& table) {
  table.matmul_fast[static_cast<int>(format)] = int8_matmul<Block>;
  table.matmul_interleaved[static_cast<int>(format)] = interleaved_matmul<Block>;
  table.interleave[static_cast<int>(format)] = interleave<RowsOfBlocks<Block>>;
}

inline void set_fast_matmuls(KernelTable& table) {
  const auto set = [&table](Format format, Matmul entry) { table.matmul_fast[static_cast<int>(format)] = entry; };
  set(Format::iq1_s, stored_matmul<BlockIQ1_S>);
  set(Format::iq1_m, stored_matmul<BlockIQ1_M>);
  set(Format::iq2_xxs, stored_matmul<BlockIQ2_XXS>);
  set(Format::iq2_xs, stored_matmul<BlockIQ2_XS>);
  set(Format::iq2_s, stored_matmul<BlockIQ2_S>);
  set(Format::iq3_xxs, stored_matmul<BlockIQ3_XXS>);
  set(Format::iq3_s, stored_matmul<BlockIQ3_S>);
  set_interleaved<BlockQ8_0>(Format::q8_0, table);
  set_interleaved<BlockQ4_0>(Format::q4_0, table);
  set_interleaved<BlockQ4_1>(Format::q4_1, table);
  set_interleaved<BlockQ5_0>(Format::q5_0, table);
  set_interleaved<BlockQ5_1>(Format::q5_1, table);
  set_interleaved<BlockIQ4_NL>(Format::iq4_nl, table);
  set_interleaved<BlockMXFP4>(Format::mxfp4, table);
  set_interleaved<BlockQ2_K>(Format::q2_k, table);
  set_interleaved<BlockQ3_K>(Format::q3_k, table);
  set_interleaved<BlockQ4_K>(Format::q4_k, table);
  set_interleaved<BlockQ5_K>(Format::q5_k, table);
  set_interleaved<BlockQ6_K>(Format::q6_k, table);
  set_interleaved<BlockIQ4_XS>(Format::iq4_xs, table);
  set_interleaved<BlockAffine<2>>(Format::affine2, table);
  set_interleaved<BlockAffine<3>>(Format::affine3, table);
  set_interleaved<BlockAffine<4>>(Format::affine4, table);
  set_interleaved<BlockAffine<5>>(Format::affine5, table);
  set_interleaved<BlockAffine<6>>(Format::affine6, table);
  set_interleaved<BlockAffine<8>>(Format::affine8, table);
  set_interleaved<BlockMXFP4Split>(Format::mxfp4_split, table);
}

}  // namespace flashmoe::FLASHMOE_ISA
