// What each instruction set adds to the table. Every function sets or overwrites the entries it has.
#pragma once

#include "kernels/kernels.h"

namespace flashmoe {

namespace scalar {
void set_matmuls(KernelTable& table);
void set_rows(KernelTable& table);
void set_delta(KernelTable& table);
void set_attention(KernelTable& table);
void set_int8_peak(KernelTable& table);

// The entry of matmul_fast, for shapes that another table leaves to this one.
void int8_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                 int64_t row_end) noexcept;
}  // namespace scalar

namespace avx2 {
void set_entries(KernelTable& table);
}
namespace avx2_vnni {  // the entries that get faster with it, on top of avx2's
void set_entries(KernelTable& table);
}
namespace avx2_vnni_evex {  // the same in AVX-512's encoding
void set_entries(KernelTable& table);
}
namespace avx512 {
void set_entries(KernelTable& table);
}
namespace neon {
void set_entries(KernelTable& table);
}
namespace neon_dotprod {  // the entries that get faster with it, on top of neon's
void set_entries(KernelTable& table);
}

}  // namespace flashmoe
