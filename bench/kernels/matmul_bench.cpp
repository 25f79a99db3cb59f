// Matmuls against the RAM and the int8 arithmetic of this machine: every iteration reads other weights, from a working
// set several times larger than L3. `roof` is the read bandwidth with the same threads, a pass of reading between any
// two matmuls, because a shared machine's bandwidth changes within seconds; `peak` is the rate of the table's int8
// multiply-adds. Rates are medians. The cases are those that the tests check.
//   bench_kernels --benchmark_filter='avx512/fast/Q4_K/8192x2048/threads:2/rows:(1|64)/'
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
#include "kernels/interleaving.h"
#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

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

enum class Way { exact, fast, interleaved };
constexpr const char* kWayNames[] = {"exact", "fast", "interleaved"};

// Weights of one shape, over and over until the working set is full.
class Weights {
 public:
  Weights(const WorkingSet& set, const MatmulCase& c, const KernelTable& table, Way way) {
    const TestMatrix one(c.format, c.rows, c.cols, 3, 0, c.grid);
    const MatrixView& w = one.view();
    const int64_t scale_bytes = w.scales == nullptr ? 0 : scale_matrix_bytes(w.grid, w.rows, w.cols);
    std::byte* at = set.data();
    const auto copy = [&](const std::byte* from, int64_t n_bytes) -> const std::byte* {
      if (from == nullptr) return nullptr;
      std::memcpy(at, from, static_cast<size_t>(n_bytes));
      at += n_bytes;
      return at - n_bytes;
    };
    while (at + w.bytes() <= set.data() + kWorkingSetBytes) {
      MatrixView view = w;
      view.data = copy(w.data, w.rows * w.row_bytes());
      view.scales = copy(w.scales, scale_bytes);
      view.biases = copy(w.biases, scale_bytes);
      views_.push_back(view);
    }
    if (way != Way::interleaved) return;
    std::vector<Interleaving> all;
    for (MatrixView& view : views_) all.push_back(interleaving_in(set.data(), view));
    ThreadPool alone(1);
    interleave(table, all, alone);
  }
  const MatrixView& next() { return views_[at_++ % views_.size()]; }

 private:
  std::vector<MatrixView> views_;
  size_t at_ = 0;
};

// f32 rows where the engine's arena would put them.
struct alignas(64) Line {
  float values[16];
};
std::vector<Line> aligned(const Activations& x) {
  std::vector<Line> lines(static_cast<size_t>(x.n * x.cols) / 16 + 1);
  std::memcpy(lines.data(), x.f32, static_cast<size_t>(x.n * x.cols) * sizeof(float));
  return lines;
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Seconds in which the pool's threads read 32 MiB, each time elsewhere.
class Reader {
 public:
  static constexpr int64_t kPass = 32 << 20;

  explicit Reader(const WorkingSet& set) : set_(set) {}
  double pass(ThreadPool& pool) {
    const std::byte* from = set_.data() + pass_++ * kPass % kWorkingSetBytes;
    std::atomic<uint64_t> total = 0;  // keeps the reads alive
    const uint64_t start = now_ns();
    pool.parallel_for(kPass, 1 << 20, [&](int64_t begin, int64_t end) {
      uint64_t sum = 0;
      for (int64_t line = begin; line < end; line += 64) {  // a word of each cache line brings all of it
        uint64_t word;
        std::memcpy(&word, from + line, sizeof(word));
        sum += word;
      }
      total += sum;
    });
    benchmark::DoNotOptimize(total.load());
    return seconds_since(start);
  }

 private:
  const WorkingSet& set_;
  int64_t pass_ = 3;  // not where the weights are read
};

// Multiply-adds per second of the pool's threads out of registers: the best of many passes.
double measure_peak(ThreadPool& pool, const KernelTable& table) {
  constexpr int64_t kRounds = 400000;  // long against the waking of a thread
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    std::atomic<int64_t> total = 0;
    const uint64_t start = now_ns();
    pool.parallel_for(pool.size(), 1, [&](int64_t, int64_t) {
      int32_t sink = 0;
      total += table.int8_peak(kRounds, &sink);
      benchmark::DoNotOptimize(sink);
    });
    best = std::max(best, static_cast<double>(total) / seconds_since(start));
  }
  return best;
}

double peak(ThreadPool& pool, const KernelTable& table) {
  static std::map<std::pair<const KernelTable*, int>, double> measured;
  double& entry = measured[{&table, pool.size()}];
  entry = std::max(entry, measure_peak(pool, table));  // again for each case: the machine may have been busy
  return entry;
}

struct Timed {
  const KernelTable* table;
  MatmulCase c;
  Way way;
  int n_threads;
  int64_t n_rows;  // of activations
  std::string name() const {
    return fmt::format("{}/{}/{}/{}x{}/threads:{}/rows:{}", table->name, kWayNames[static_cast<int>(way)],
                       format_info(c.format).name, c.rows, c.cols, n_threads, n_rows);
  }
};

void time_matmul(benchmark::State& state, const Timed& t) {
  static const WorkingSet set;
  ThreadPool pool(t.n_threads);
  const MatmulCase& c = t.c;
  const double peak_rate = peak(pool, *t.table);
  Reader reader(set);
  Weights weights(set, c, *t.table, t.way);
  const TestActivations of_test(t.n_rows, c.cols, 5);
  const std::vector<Line> rows = aligned(of_test.all());
  Activations x = of_test.all();
  x.f32 = rows.data()->values;
  std::vector<float> y(static_cast<size_t>(t.n_rows * c.rows));
  const Matmul matmul = matmul_for(*t.table, weights.next(), t.way == Way::exact);
  const int64_t grain = std::max<int64_t>(16, c.rows / (8 * t.n_threads) / 16 * 16);
  std::vector<double> seconds, read_seconds;
  for (auto _ : state) {
    state.PauseTiming();
    read_seconds.push_back(reader.pass(pool));
    state.ResumeTiming();
    const MatrixView& w = weights.next();
    const uint64_t start = now_ns();
    pool.parallel_for(c.rows, grain, [&](int64_t begin, int64_t end) { matmul(w, x, y.data(), c.rows, begin, end); });
    seconds.push_back(seconds_since(start));
    benchmark::DoNotOptimize(y.data());
  }
  const double rate = 1 / median(seconds), roof = static_cast<double>(Reader::kPass) / median(read_seconds);
  const double bytes = rate * static_cast<double>(weights.next().bytes());
  const double multiplied = rate * static_cast<double>(c.rows * c.cols * t.n_rows);
  state.counters["GB/s"] = bytes * 1e-9;
  state.counters["of_roof"] = bytes / roof;
  state.counters["GMAC/s"] = multiplied * 1e-9;
  state.counters["of_peak"] = multiplied / peak_rate;
  state.counters["roof_GB/s"] = roof * 1e-9;
  state.counters["peak_GMAC/s"] = peak_rate * 1e-9;
}

// A line of 94 columns for each case.
class Table : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override {
    fmt::print("{:<46} {:>6} {:>6} {:>7} {:>6}  {:>6} {:>7}\n", "", "GB/s", "roof", "GMAC/s", "peak", "roof", "peak");
    return true;
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (!run.counters.contains("GB/s")) continue;  // it failed
      const auto get = [&](const char* name) { return run.counters.at(name).value; };
      const std::string name = run.run_name.function_name;
      fmt::print("{:<46} {:>6.1f} {:>5.0f}% {:>7.1f} {:>5.0f}%  {:>6.1f} {:>7.1f}\n", name, get("GB/s"),
                 100 * get("of_roof"), get("GMAC/s"), 100 * get("of_peak"), get("roof_GB/s"), get("peak_GMAC/s"));
    }
    std::fflush(stdout);
  }
};

void register_cases() {
  for (const KernelTable* table : available_tables()) {
    for (const MatmulCase& c : matmul_cases()) {
      if (!c.is_model_shape) continue;
      for (const Way way : {Way::fast, Way::interleaved, Way::exact}) {
        if (way == Way::fast && format_info(c.format).is_float) continue;
        if (way == Way::interleaved && table->interleave[static_cast<int>(c.format)] == nullptr) continue;
        for (const int n_threads : {1, 2}) {
          for (const int64_t n_rows : {1, 2, 3, 4, 6, 8, 16, 64, 128}) {
            const Timed timed = {table, c, way, n_threads, n_rows};
            benchmark::RegisterBenchmark(timed.name().c_str(), [=](benchmark::State& state) {
              time_matmul(state, timed);
            })->UseRealTime();
          }
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
  flashmoe::Table table;
  benchmark::RunSpecifiedBenchmarks(&table);
  benchmark::Shutdown();
  return 0;
}
