// Times the matrices of a model without its weights: each shape on memory that stands for them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "memory/buffer.h"
#include "memory/view.h"

namespace flashmoe {

struct MatmulShape {
  int64_t rows = 0, cols = 0;
  Format format = Format::f32;
  ScaleGrid grid = {};
  bool operator==(const MatmulShape&) const = default;
};

// Keeps what it measured: a shape costs some milliseconds once.
class MatmulProbe {
 public:
  // Allocates `working_set_bytes`, which should be far more than the caches hold. Here and in seconds(),
  // Error{interrupted} when `keep_going`, which may be empty, says so.
  MatmulProbe(ThreadPool& pool, const KernelTable& kernels, bool exact, uint64_t working_set_bytes,
              std::function<bool()> keep_going);

  // Seconds for y = w x with `n_rows` rows of activations, w read from memory: the median of several.
  double seconds(const MatmulShape& shape, int64_t n_rows);

 private:
  double measure(const MatmulShape& shape, int64_t n_rows);

  struct Known {
    MatmulShape shape;
    int64_t n_rows;
    double seconds;
  };
  ThreadPool& pool_;
  const KernelTable& kernels_;
  bool exact_;
  std::function<bool()> keep_going_;
  Budget budget_;
  Buffer memory_;
  uint64_t at_ = 0;
  std::vector<Known> known_;
};

}  // namespace flashmoe
