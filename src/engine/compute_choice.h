// What computes, as the options say.
#pragma once

#include <cstdint>

#include "flashmoe/options.h"
#include "kernels/kernels.h"

namespace flashmoe {

// Throws Error{usage} for kernels that this machine cannot run.
const KernelTable& choose_kernels(KernelChoice choice);
// 0: the CPUs this process may use. Throws Error{usage} for numbers out of range.
int choose_threads(int wanted);
// Address space of the stacks of so many threads that compute, and of all others.
uint64_t stack_bytes(int n_computing);

}  // namespace flashmoe
