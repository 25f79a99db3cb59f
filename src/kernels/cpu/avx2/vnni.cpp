// The int8 matmuls once more, for CPUs with AVX-VNNI.
#if defined(__x86_64__)

#define FLASHMOE_ISA avx2_vnni
#include "kernels/cpu/avx2/int8_matmul.h"
#include "kernels/cpu/avx2/int8_peak.h"
#include "kernels/cpu/tables.h"

namespace flashmoe::avx2_vnni {

void set_entries(KernelTable& table) {
  set_fast_matmuls(table);
  table.int8_peak = int8_peak;
}

}  // namespace flashmoe::avx2_vnni

#endif
