// Matmuls against the RAM of this machine: every iteration reads other weights, from a working set several times larger
// than L3. `roof` is the read bandwidth measured in the same run with the same threads; `of_roof` the share of it that
// the fastest iteration reaches, as the roof is the fastest pass. The cases are those that the tests check.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>

#include "base/check.h"
#include "base/clock.h"
#include "base/thread_pool.h"
#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

using testing_support::MatmulCase;
using testing_support::TestActivations;
using testing_support::TestMatrix;

constexpr int64_t kWorkingSetBytes = 256 << 20;

// Memory larger than L3, in huge pages where the kernel gives them, as the engine holds its weights.
class WorkingSet {
 public:
  WorkingSet()
      : data_(static_cast<std::byte*>(
            mmap(nullptr, kWorkingSetBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    CHECK(data_ != MAP_FAILED);
    madvise(data_, kWorkingSetBytes, MADV_HUGEPAGE);
    std::memset(data_, 1, kWorkingSetBytes);
  }
  ~WorkingSet() { munmap(data_, kWorkingSetBytes); }
  WorkingSet(const WorkingSet&) = delete;
  WorkingSet& operator=(const WorkingSet&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
};

// Weights of one shape, over and over until the working set is full.
class Weights {
 public:
  explicit Weights(const MatmulCase& c) {
    const TestMatrix one(c.format, c.rows, c.cols, 3);
    for (int64_t at = 0; at + one.view().bytes() <= kWorkingSetBytes; at += one.view().bytes()) {
      std::memcpy(set_.data() + at, one.view().data, static_cast<size_t>(one.view().bytes()));
      views_.push_back({set_.data() + at, c.rows, c.cols, c.format});
    }
  }
  const MatrixView& next() { return views_[at_++ % views_.size()]; }

 private:
  WorkingSet set_;
  std::vector<MatrixView> views_;
  size_t at_ = 0;
};

// Bytes per second that the pool's threads read: the best of many passes over 32 MiB, each elsewhere.
double measure_roof(ThreadPool& pool) {
  constexpr int64_t kPass = 32 << 20, kGrain = 1 << 20;
  const WorkingSet set;
  std::atomic<uint64_t> total = 0;  // keeps the reads alive
  double best = 0;
  for (int64_t pass = 0; pass < 64; ++pass) {
    const std::byte* from = set.data() + pass * kPass % kWorkingSetBytes;
    const uint64_t start = now_ns();
    pool.parallel_for(kPass, kGrain, [&](int64_t begin, int64_t end) {
      uint64_t sum = 0;
      for (int64_t line = begin; line < end; line += 64) {  // a word of each cache line brings all of it
        uint64_t word;
        std::memcpy(&word, from + line, sizeof(word));
        sum += word;
      }
      total += sum;
    });
    best = std::max(best, static_cast<double>(kPass) / seconds_since(start));
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
  double fastest = 0;  // matmuls per second
  for (auto _ : state) {
    const MatrixView& w = weights.next();
    const uint64_t start = now_ns();
    pool.parallel_for(c.rows, grain,
                      [&](int64_t begin, int64_t end) { matmul(w, x.all(), y.data(), c.rows, begin, end); });
    fastest = std::max(fastest, 1 / seconds_since(start));
    benchmark::DoNotOptimize(y.data());
  }
  const double rate = fastest * static_cast<double>(format_bytes(c.format, c.rows * c.cols));
  state.counters["GB/s"] = rate * 1e-9;
  state.counters["roof"] = roof_rate * 1e-9;
  state.counters["of_roof"] = rate / roof_rate;
  state.counters["GMAC/s"] = fastest * static_cast<double>(c.rows * c.cols * state.range(0)) * 1e-9;
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
          benchmark::RegisterBenchmark(name.c_str(), body)->Arg(1)->Arg(8)->Arg(128)->UseRealTime()->MinTime(0.1);
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
