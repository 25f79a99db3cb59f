#if defined(__aarch64__)

#include "kernels/cpu/neon/int8_matmul.h"
#include "kernels/cpu/neon/int8_peak.h"
#include "kernels/cpu/neon/ints.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vector/attention.h"
#include "kernels/cpu/vector/delta.h"
#include "kernels/cpu/vector/quantise.h"
#include "kernels/cpu/vector/rows.h"

namespace flashmoe::neon {
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
