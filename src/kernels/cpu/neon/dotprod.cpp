// The int8 matmuls once more, for CPUs with the dot product extension (SDOT).
#if defined(__aarch64__)

#define FLASHMOE_ISA neon_dotprod
#include "kernels/cpu/neon/int8_matmul.h"
#include "kernels/cpu/neon/int8_peak.h"
#include "kernels/cpu/tables.h"

namespace flashmoe::neon_dotprod {

void set_entries(KernelTable& table) {
  set_fast_matmuls(table);
  table.int8_peak = int8_peak;
}

}  // namespace flashmoe::neon_dotprod

#endif
