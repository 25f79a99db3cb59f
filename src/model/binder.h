// Matches the tensors a family asks for with those a checkpoint has, and collects every complaint before the first is
// reported. Nothing is read here: see trunk.h.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "experts/source.h"
#include "memory/view.h"

namespace flashmoe {

// How a small f32 vector is made from what the file stores.
enum class Transform {
  none,
  one_plus,      // 1 + w: norms that Hugging Face stores zero-centred
  negative_exp,  // -exp(w): A_log
};

// What a matrix is for. `products`: it may be rearranged in memory (kernels/kernels.h). `as_stored`: rows are taken out
// of it as well. `picks`: a router, multiplied with f32, whose values must be finite, since an expert that scores NaN
// is not told from one that is not wanted. `rows`: rows are taken out and nothing else, so that it may stay in its file
// (file_rows.h).
enum class MatrixUse { products, as_stored, picks, rows };

// Rows of a stored matrix: `n` of them from `first` on, and again every `stride` rows, `times` in all.
struct RowPieces {
  int64_t first = 0, n = 0, stride = 0, times = 1;
};

class Binder {
 public:
  explicit Binder(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // A weight matrix [rows, cols] that stays in the file's format. `target` is filled by Trunk::load and must not move.
  void matrix(MatrixView& target, const std::string& name, int64_t rows, int64_t cols,
              MatrixUse use = MatrixUse::products);
  // The same out of some rows of a stored matrix [stored_rows, cols]: the pieces, all inside it, one after the other.
  void matrix_of_rows(MatrixView& target, const std::string& name, int64_t stored_rows, int64_t cols,
                      std::vector<RowPieces> pieces);
  // A small tensor as f32, row-major; unit dimensions of the file's shape do not count.
  void vector(std::span<const float>& target, const std::string& name, std::initializer_list<int64_t> shape,
              Transform transform = Transform::none);

  // Routed experts of one layer, appended to `table` in expert order: stacked [n_experts, rows, cols] tensors, ...
  struct StackedNames {
    std::string gate, up, down;
  };
  void stacked_experts(ExpertTable& table, const StackedNames& names, int64_t d_ff, int64_t d_model);
  // ... with gate and up in one tensor [n_experts, 2 d_ff, d_model], gate rows first, ...
  void fused_experts(ExpertTable& table, const std::string& gate_up, const std::string& down, int64_t d_ff,
                     int64_t d_model);
  // ... or one tensor per expert and matrix; `prefix` + "N." + {gate,up,down}_proj.weight.
  void single_experts(ExpertTable& table, const std::string& prefix, int64_t d_ff, int64_t d_model);

  Dialect dialect() const { return checkpoint_.dialect(); }
  // Whether the file has it, in whatever format.
  bool has(std::string_view name) const {
    return checkpoint_.find(name) != nullptr || checkpoint_.find_unsupported(name) != nullptr;
  }
  // Tensors that are known and not needed: everything that starts with `prefix` is part of a `what`.
  void ignore(std::string_view prefix, const char* what);

  // Throws Error{input or unsupported} that lists every missing, misshapen or unsupported tensor.
  void throw_if_incomplete() const;
  // Bytes of what is ignored, by what it is.
  std::map<std::string, uint64_t> ignored() const;
  // Tensors in the file that nothing asked for, ignored ones excepted.
  struct Unused {
    std::vector<std::string> names;
    uint64_t bytes = 0;
  };
  Unused unused() const;

  struct MatrixRequest {
    MatrixView* target;  // its shape and format are known, its data is not
    const TensorInfo* tensor;
    std::vector<RowPieces> pieces;  // empty: all rows as they lie
    MatrixUse use = MatrixUse::products;

    uint64_t bytes() const { return static_cast<uint64_t>(target->bytes()); }
  };
  struct VectorRequest {
    std::span<const float>* target;
    const TensorInfo* tensor;
    Transform transform;
  };
  const std::vector<MatrixRequest>& matrices() const { return matrices_; }
  const MatrixRequest* rows() const;  // that of MatrixUse::rows, of which there is one at most; null: none
  const std::vector<VectorRequest>& vectors() const { return vectors_; }

 private:
  const TensorInfo* require(const std::string& name, std::initializer_list<int64_t> shape);
  const char* why_ignored(std::string_view name) const;  // null: it is not
  // Calls take(name, bytes) for each tensor that nothing asked for.
  void each_left(const std::function<void(const std::string&, uint64_t)>& take) const;
  const Checkpoint& checkpoint_;
  std::vector<MatrixRequest> matrices_;
  std::vector<VectorRequest> vectors_;
  std::set<std::string, std::less<>> used_;
  struct Ignored {
    std::string prefix;
    const char* what;
  };
  std::vector<Ignored> ignored_;
  std::vector<std::string> complaints_;
  bool unsupported_ = false;
};

}  // namespace flashmoe
