#include "kernels/cpu/tables.h"

namespace flashmoe::avx512 {

void set_entries(KernelTable&) {}

}  // namespace flashmoe::avx512
