#include "kernels/cpu/tables.h"

namespace flashmoe::avx2 {

void set_entries(KernelTable&) {}

}  // namespace flashmoe::avx2
