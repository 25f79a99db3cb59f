#include "engine/roof_probe.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/keep_going.h"
#include "memory/buffer.h"

namespace flashmoe {
namespace {

constexpr int kRamPasses = 160;
constexpr int kFastest = 16;  // the 16th fastest counts: what the memory can do for longer than one pass
constexpr int kInt8Passes = 20;
constexpr uint64_t kPassBytes = 64 * kMiB;  // some 2 ms: a program that runs beside does not cut each of them
constexpr uint64_t kLeastSampledBytes = 256 * kMiB;
constexpr int64_t kGrainBytes = 1 << 20;
constexpr double kInt8PassSeconds = 2e-3;
constexpr uint64_t kPieceBytes = 32 * kMiB;  // written between two looks at whether to go on
constexpr const char* kMeasuring = "measuring the machine";

// A word of each cache line brings all of it.
uint64_t read_lines(const std::byte* from, int64_t begin, int64_t end) {
  uint64_t sum = 0;
  for (int64_t line = begin; line + 8 <= end; line += 64) {
    uint64_t word = 0;
    std::memcpy(&word, from + line, sizeof(word));
    sum += word;
  }
  return sum;
}

// All of it, once, by all threads; GB/s.
double read_pass(ThreadPool& pool, std::span<const std::byte> memory) {
  std::atomic<uint64_t> total = 0;
  const uint64_t start = now_ns();
  pool.parallel_for(static_cast<int64_t>(memory.size()), kGrainBytes,
                    [&](int64_t begin, int64_t end) { total += read_lines(memory.data(), begin, end); });
  const double seconds = seconds_since(start);
  asm volatile("" : : "r"(total.load()));  // keeps the reads alive
  return static_cast<double>(memory.size()) / seconds * 1e-9;
}

// Runs the peak kernel on every thread; operations a second.
double int8_pass(ThreadPool& pool, const KernelTable& kernels, int64_t n_rounds) {
  std::atomic<int64_t> n_done = 0;
  const uint64_t start = now_ns();
  pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int32_t sink = 0;
      n_done += kernels.int8_peak(n_rounds, &sink);
    }
  });
  return 2 * static_cast<double>(n_done) / seconds_since(start);
}

}  // namespace

double RamSampler::sample() {
  if (memory_.size() < kLeastSampledBytes) return 0;
  if (at_ + kPassBytes > memory_.size()) at_ = 0;
  return read_pass(*pool_, memory_.subspan(std::exchange(at_, at_ + kPassBytes), kPassBytes));
}

void write_pages(std::span<std::byte> memory, const std::function<bool()>& keep_going) {
  for (uint64_t at = 0; at < memory.size(); at += kPieceBytes) {
    stop_if_asked(keep_going, kMeasuring);
    std::memset(memory.data() + at, 1, std::min(kPieceBytes, memory.size() - at));
  }
}

double measure_ram(ThreadPool& pool, uint64_t working_set_bytes, const std::function<bool()>& keep_going) {
  Budget budget;
  const uint64_t bytes = round_up(working_set_bytes, kGrainBytes);
  budget.allot(Allotted::workspace, bytes);
  const Buffer memory(budget, Allotted::workspace, bytes);
  write_pages(memory.span(), keep_going);
  const uint64_t pass_bytes = std::min(bytes, kPassBytes);
  std::array<double, kRamPasses> rates;
  for (uint64_t pass = 0, at = 0; pass < kRamPasses; ++pass, at += pass_bytes) {
    if (at + pass_bytes > bytes) at = 0;
    stop_if_asked(keep_going, kMeasuring);
    rates[pass] = read_pass(pool, memory.span().subspan(at, pass_bytes));
  }
  std::nth_element(rates.begin(), rates.end() - kFastest, rates.end());
  return *(rates.end() - kFastest);
}

double measure_int8(ThreadPool& pool, const KernelTable& kernels, const std::function<bool()>& keep_going) {
  // Rounds of one pass: enough that starting the threads does not count.
  int64_t n_rounds = 1024;
  for (double seconds = 0; seconds < kInt8PassSeconds; n_rounds *= 2) {
    const uint64_t start = now_ns();
    int8_pass(pool, kernels, n_rounds);
    seconds = seconds_since(start);
  }
  double best = 0;
  for (int pass = 0; pass < kInt8Passes; ++pass) {
    stop_if_asked(keep_going, kMeasuring);
    best = std::max(best, int8_pass(pool, kernels, n_rounds));
  }
  return best * 1e-12;
}

}  // namespace flashmoe
