#include "engine/matmul_probe.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/keep_going.h"
#include "engine/roof_probe.h"
#include "kernels/interleaving.h"

namespace flashmoe {
namespace {

constexpr uint64_t kLargestBytes = 16 * kMiB;  // of a matrix; a larger one takes in proportion
constexpr int64_t kMostRows = 64;              // of activations, likewise
constexpr size_t kLeastTries = 5, kMostTries = 200;
constexpr double kEnoughSeconds = 5e-3;
constexpr int64_t kPieces = 8;  // of rows for each thread, as the model's own products have

// Activations of one value, in both forms.
struct SomeActivations {
  SomeActivations(int64_t n, int64_t cols)
      : f32(static_cast<size_t>(n * cols), 0.5F),
        q8(f32.size(), 1),
        scale(f32.size() / kActivationBlock + 1, 0.5F),
        sum(scale.size(), 16.0F),
        all{n, cols, f32.data(), q8.data(), scale.data(), sum.data()} {}
  std::vector<float> f32;
  std::vector<int8_t> q8;
  std::vector<float> scale, sum;
  Activations all;
};

}  // namespace

MatmulProbe::MatmulProbe(ThreadPool& pool, const KernelTable& kernels, bool exact, uint64_t working_set_bytes,
                         std::function<bool()> keep_going)
    : pool_(pool), kernels_(kernels), exact_(exact), keep_going_(std::move(keep_going)) {
  budget_.allot(Allotted::workspace, working_set_bytes);
  memory_ = Buffer(budget_, Allotted::workspace, working_set_bytes);
  write_pages(memory_.span(), keep_going_);  // valid blocks of every format: small scales, no NaN
}

double MatmulProbe::seconds(const MatmulShape& shape, int64_t n_rows) {
  for (const Known& known : known_) {
    if (known.shape == shape && known.n_rows == n_rows) return known.seconds;
  }
  const uint64_t most_bytes = std::min(kLargestBytes, memory_.size());
  const int64_t scales = scale_row_bytes(shape.grid, shape.cols) * n_scale_matrices(shape.format);
  const auto row_bytes = static_cast<uint64_t>(format_bytes(shape.format, shape.cols) + scales);
  MatmulShape part = shape;
  part.rows = static_cast<int64_t>(most_bytes / row_bytes) / kInterleavedRows * kInterleavedRows;
  part.rows = std::clamp<int64_t>(part.rows, 1, shape.rows);
  const int64_t part_n = std::min(n_rows, kMostRows);
  const double scale = static_cast<double>(shape.rows) / static_cast<double>(part.rows) * static_cast<double>(n_rows) /
                       static_cast<double>(part_n);
  known_.push_back({shape, n_rows, measure(part, part_n) * scale});
  return known_.back().seconds;
}

double MatmulProbe::measure(const MatmulShape& shape, int64_t n_rows) {
  const SomeActivations x(n_rows, shape.cols);
  std::vector<float> y(static_cast<size_t>(n_rows * shape.rows));
  const int64_t grain =
      std::max<int64_t>(kInterleavedRows, shape.rows / (pool_.size() * kPieces) / kInterleavedRows * kInterleavedRows);
  std::vector<double> tries;
  const uint64_t start = now_ns();
  while (tries.size() < kLeastTries || (tries.size() < kMostTries && seconds_since(start) < kEnoughSeconds)) {
    stop_if_asked(keep_going_, "measuring the model's matrices");
    MatrixView w{nullptr, shape.rows, shape.cols, shape.format, shape.grid};
    if (at_ + static_cast<uint64_t>(w.bytes()) > memory_.size()) at_ = 0;
    w.data = memory_.data() + at_;
    if (n_scale_matrices(w.format) > 0) w.scales = w.data + w.rows * w.row_bytes();
    if (n_scale_matrices(w.format) > 1) w.biases = w.scales + scale_matrix_bytes(w.grid, w.rows, w.cols);
    at_ += round_up(static_cast<uint64_t>(w.bytes()), 64);
    w.interleaved = !exact_ && can_interleave(kernels_, w);
    const Matmul matmul = matmul_for(kernels_, w, exact_);
    const uint64_t before = now_ns();
    pool_.parallel_for(shape.rows, grain,
                       [&](int64_t begin, int64_t end) { matmul(w, x.all, y.data(), shape.rows, begin, end); });
    tries.push_back(seconds_since(before));
  }
  std::nth_element(tries.begin(), tries.begin() + static_cast<int64_t>(tries.size() / 2), tries.end());
  return tries[tries.size() / 2];
}

}  // namespace flashmoe
