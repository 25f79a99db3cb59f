// Weights in the order in which products of few rows read them: 16 rows side by side.
#pragma once

#include <cstddef>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace flashmoe {

// Whether the table has entries for w interleaved: for its format, and for its shape.
bool can_interleave(const KernelTable& table, const MatrixView& w);

struct Interleaving {
  MatrixView* w;                                   // not interleaved yet
  std::byte* data;                                 // where its weights lie
  std::byte *scales = nullptr, *biases = nullptr;  // and what is kept apart from them, if anything
};
// Of a matrix all of which lies in this memory.
Interleaving interleaving_in(std::byte* memory, MatrixView& w);
// Rearranges those of the matrices that can be, in place, and says so in their views.
void interleave(const KernelTable& table, std::span<const Interleaving> matrices, ThreadPool& pool);

}  // namespace flashmoe
