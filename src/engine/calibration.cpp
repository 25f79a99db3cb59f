#include "engine/calibration.h"

#include <fmt/format.h>

#include "base/check.h"

namespace flashmoe {

Calibration::Calibration(const Binder& binder, const Family& family) : config_(family.config()) {
  for (const Binder::MatrixRequest& request : binder.matrices()) {
    // Parts of one stored tensor read the same activations: the first speaks for all.
    const auto [at, is_new] = sums_.try_emplace(request.tensor->name, empty_sums(1, request.target->cols));
    if (!is_new) continue;
    if (request.target->data == family.lm_head().data) {
      head_ = &at->second;  // takes the final norm's rows: logits of most are never computed
    } else {
      by_data_.emplace(request.target->data, &at->second);
    }
  }
  for (int layer = 0; layer < config_.n_layers; ++layer) {
    const auto sums_of = [&](const char* role, int64_t cols) {
      return &sums_.emplace(fmt::format("layers.{}.experts.{}", layer, role), empty_sums(config_.n_experts, cols))
                  .first->second;
    };
    experts_.emplace_back(sums_of("gate_up", config_.d_model), sums_of("down", config_.d_ff_expert));
  }
}

Calibration::Sums Calibration::empty_sums(int64_t n, int64_t cols) {
  return {cols, std::vector<double>(static_cast<size_t>(n * cols)), std::vector<int64_t>(static_cast<size_t>(n))};
}

void Calibration::add(Sums& sums, int64_t index, const float* x, int64_t rows) {
  CHECK(x != nullptr);
  double* to = sums.squares.data() + index * sums.cols;
  for (int64_t i = 0; i < rows; ++i, x += sums.cols) {
    for (int64_t j = 0; j < sums.cols; ++j) to[j] += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  }
  sums.counts[static_cast<size_t>(index)] += rows;
}

void Calibration::hidden(int index, std::span<const float> x) {
  if (index == config_.n_layers && head_ != nullptr) {
    add(*head_, 0, x.data(), static_cast<int64_t>(x.size()) / config_.d_model);
  }
}

void Calibration::multiplied(const MatrixView& w, const Activations& x) {
  const auto found = by_data_.find(w.data);
  if (found != by_data_.end()) add(*found->second, 0, x.f32, x.n);
}

void Calibration::expert_read(int layer, int expert, const ActivationBuffer& x, std::span<const int32_t> rows,
                              const Activations& act) {
  const auto& [gate_up, down] = experts_[static_cast<size_t>(layer)];
  for (const int32_t row : rows) add(*gate_up, expert, x.rows(row, 1).f32, 1);
  add(*down, expert, act.f32, act.n);
}

std::vector<ColumnImportance> Calibration::result() const {
  std::vector<ColumnImportance> all;
  for (const auto& [name, sums] : sums_) {
    if (sums.counts == std::vector<int64_t>{0}) continue;  // an embedding, which is only looked up
    ColumnImportance one = {name, sums.cols, sums.counts, std::vector<float>(sums.squares.size())};
    for (size_t i = 0; i < sums.squares.size(); ++i) {
      const int64_t n = sums.counts[i / static_cast<size_t>(sums.cols)];
      one.mean_squares[i] = n == 0 ? 0 : static_cast<float>(sums.squares[i] / static_cast<double>(n));
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace flashmoe
