// Counts calls of operator new, which a program that asks for the count has replaced.
#pragma once

#include <cstdint>

namespace flashmoe {

// Allocations of this test program so far.
uint64_t allocation_count();

}  // namespace flashmoe
