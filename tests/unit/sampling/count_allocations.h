// Counts what this test program takes from operator new.
#pragma once

#include <cstddef>

extern size_t n_allocations;
