// Matmuls of one token, as decoding does them, against the RAM of this machine: every iteration reads other weights,
// from a working set several times larger than L3. `roof` is the read bandwidth measured in the same run with the same
// threads; `of_roof` the share that the matmul reaches. The cases are those that the tests check.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

using testing_support::MatmulCase;
using testing_support::TestActivations;
using testing_support::TestMatrix;

constexpr int64_t kWorkingSetBytes = 256 << 20;

// Weights of one shape, over and over until the working set is full.
class Weights {
 public:
  explicit Weights(const MatmulCase& c) {
    const TestMatrix one(c.format, c.rows, c.cols, 3);
    const int64_t n = std::max<int64_t>(1, kWorkingSetBytes / one.view().bytes());
    bytes_.resize(static_cast<size_t>(n * one.view().bytes()));
    for (int64_t i = 0; i < n; ++i) {
      std::byte* to = bytes_.data() + i * one.view().bytes();
      std::memcpy(to, one.view().data, static_cast<size_t>(one.view().bytes()));
      views_.push_back({to, c.rows, c.cols, c.format});
    }
  }
  const MatrixView& next() { return views_[at_++ % views_.size()]; }

 private:
  std::vector<std::byte> bytes_;
  std::vector<MatrixView> views_;
  size_t at_ = 0;
};

// Bytes per second that the pool's threads read from a buffer larger than L3: the best of five passes.
double measure_roof(ThreadPool& pool) {
  const std::vector<uint64_t> buffer(static_cast<size_t>(4 * kWorkingSetBytes) / sizeof(uint64_t), 1);
  constexpr int64_t kGrain = 1 << 17;
  std::atomic<uint64_t> total = 0;  // keeps the reads alive
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    const uint64_t start = now_ns();
    pool.parallel_for(static_cast<int64_t>(buffer.size()), kGrain, [&](int64_t begin, int64_t end) {
      uint64_t sums[16] = {};
      for (int64_t i = begin; i + 16 <= end; i += 16) {
        for (int64_t j = 0; j < 16; ++j) sums[j] += buffer[static_cast<size_t>(i + j)];
      }
      for (const uint64_t sum : sums) total += sum;
    });
    best = std::max(best, static_cast<double>(buffer.size() * sizeof(uint64_t)) / seconds_since(start));
  }
  benchmark::DoNotOptimize(total.load());
  return best;
}

double roof(ThreadPool& pool) {
  static std::map<int, double> measured;
  auto& entry = measured[pool.size()];
  if (entry == 0) entry = measure_roof(pool);
  return entry;
}

void time_matmul(benchmark::State& state, const KernelTable& table, const MatmulCase& c, bool fast, int n_threads) {
  ThreadPool pool(n_threads);
  const double roof_rate = roof(pool);
  Weights weights(c);
  const TestActivations x(state.range(0), c.cols, 5);
  std::vector<float> y(static_cast<size_t>(state.range(0) * c.rows));
  const Matmul matmul = (fast ? table.matmul_fast : table.matmul_exact)[static_cast<int>(c.format)];
  const int64_t grain = std::max<int64_t>(16, c.rows / (8 * n_threads));
  int64_t bytes = 0;
  const uint64_t start = now_ns();
  for (auto _ : state) {
    const MatrixView& w = weights.next();
    pool.parallel_for(c.rows, grain,
                      [&](int64_t begin, int64_t end) { matmul(w, x.all(), y.data(), c.rows, begin, end); });
    benchmark::DoNotOptimize(y.data());
    bytes += w.bytes();
  }
  const double seconds = seconds_since(start);
  state.counters["GB/s"] = static_cast<double>(bytes) / seconds * 1e-9;
  state.counters["roof"] = roof_rate * 1e-9;
  state.counters["of_roof"] = static_cast<double>(bytes) / seconds / roof_rate;
  const double flops =
      2.0 * static_cast<double>(c.rows * c.cols * state.range(0)) * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = flops / seconds * 1e-9;
}

void register_cases() {
  for (const KernelTable* table : testing_support::available_tables()) {
    for (const MatmulCase& c : testing_support::matmul_cases()) {
      if (!c.is_model_shape) continue;
      for (const bool fast : {true, false}) {
        if (fast && format_info(c.format).is_float) continue;
        for (const int n_threads : {1, 2}) {
          const std::string name = fmt::format("{}/{}/{}/{}x{}/threads:{}/tokens", table->name, fast ? "fast" : "exact",
                                               format_info(c.format).name, c.rows, c.cols, n_threads);
          const auto body = [=](benchmark::State& state) { time_matmul(state, *table, c, fast, n_threads); };
          benchmark::RegisterBenchmark(name.c_str(), body)->Arg(1)->Arg(8)->Arg(128)->UseRealTime()->MinTime(0.2);
        }
      }
    }
  }
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  flashmoe::register_cases();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
