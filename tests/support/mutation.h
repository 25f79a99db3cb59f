// Damage to files: bytes flipped, cut, repeated, numbers blown up.
#pragma once

#include <string>

#include "support/random.h"

namespace flashmoe {

// `n`, times what the environment asks for in FLASHMOE_FUZZ_TIMES.
int fuzz_count(int n);

// One to three of them, anywhere.
std::string mutated(std::string bytes, Random& random);
// The same within [begin, end) of the bytes, whose number stays as it is.
std::string mutated_within(std::string bytes, size_t begin, size_t end, Random& random);
// JSON that most often still is JSON: numbers, strings, names and brackets are others.
std::string mutated_json(std::string text, Random& random);

}  // namespace flashmoe
