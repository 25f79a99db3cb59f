// F32: IEEE binary32, little-endian. One value per block.
//
// Decoders are `static inline` on purpose: sources compiled for different instruction sets include these headers, and
// internal linkage keeps one instruction set's code out of another's objects. `__restrict`: bytes may alias anything,
// and without the promise that the output is elsewhere the loops stay scalar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashmoe {

static inline void decode_f32(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  if (n_values > 0) std::memcpy(out, blocks, static_cast<size_t>(n_values) * sizeof(float));
}

}  // namespace flashmoe
