// A long routing trace of a model that does not exist.
#pragma once

#include <cstdint>
#include <string>

namespace flashmoe {

// A prompt of 512 tokens and `n_decoded` more through 40 layers, 8 of 256 experts each: a third of the picks are those
// of the token before, the others skewed towards some experts. With outcomes, times, weights and guesses, in no order
// that means anything. Throws Error{io}.
void write_large_trace(const std::string& path, uint64_t n_decoded);

}  // namespace flashmoe
