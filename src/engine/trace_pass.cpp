#include "engine/trace_pass.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/keep_going.h"
#include "engine/trace_settings.h"

namespace flashmoe {
namespace {

constexpr uint64_t kIdleNs = 100'000'000;  // a longer gap between steps is nobody's computing
constexpr uint64_t kStepsBetweenReports = 64;
constexpr uint64_t kEnoughSamples = 3;
constexpr double kReadLatencyS = 100e-6;  // of a disk of which nothing is known
constexpr double kBytesPerGb = 1e9;

// Sums over layers by how many experts they missed.
struct WaitSums {
  std::vector<double> seconds, n;
  // Of layers that a guess was read for.
  double guessed_s = 0, n_guessed = 0;
  std::vector<double> n_with_guess;  // [misses]

  void add(const TraceLayer& layer) {
    const auto misses = static_cast<size_t>(layer.n_waited_for());
    const auto guessed = static_cast<double>(layer.n_missed()) - static_cast<double>(misses);
    const double wait_s = 1e-9 * static_cast<double>(layer.stage_ns[kFetchStage]);
    if (misses >= n.size()) {
      n.resize(misses + 1);
      seconds.resize(misses + 1);
      n_with_guess.resize(misses + 1);
    }
    if (guessed > 0) {
      guessed_s += wait_s;
      n_guessed += guessed;
      ++n_with_guess[misses];
    } else {
      seconds[misses] += wait_s;
      ++n[misses];
    }
  }
};

// The line through what layers with at least one miss waited, each layer counting.
void fit_line(const WaitSums& sums, TraceTiming& timing) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (size_t m = 1; m < sums.n.size(); ++m) {
    const auto at = static_cast<double>(m);
    n += sums.n[m];
    x += at * sums.n[m];
    y += sums.seconds[m];
    xx += at * at * sums.n[m];
    xy += at * sums.seconds[m];
  }
  if (n == 0) return;
  const double spread = n * xx - x * x;
  timing.wait_per_miss_s = spread > 0 ? std::max(0.0, (n * xy - x * y) / spread) : y / x;
  timing.first_wait_s = std::max(0.0, (y - timing.wait_per_miss_s * x) / n);
}

void learn_waits(const WaitSums& sums, TraceTiming& timing) {
  fit_line(sums, timing);
  for (size_t m = 0; m < sums.n.size(); ++m) {
    const bool enough = sums.n[m] >= static_cast<double>(m == 0 ? 1 : kEnoughSamples);
    timing.wait_s.push_back(enough ? sums.seconds[m] / sums.n[m] : m == 0 ? 0 : -1);
  }
  double without_s = 0;
  for (size_t m = 0; m < sums.n_with_guess.size(); ++m) without_s += sums.n_with_guess[m] * timing.wait(m);
  if (sums.n_guessed > 0) timing.wait_per_guess_s = (sums.guessed_s - without_s) / sums.n_guessed;
}

std::unique_ptr<TraceReader> open_telling(const TraceQuestion& question) {
  const uint64_t start_ns = now_ns();
  const auto file = open_file(question.path);
  return open_trace(file, question.unfinished, [&](uint64_t bytes) {
    stop_if_asked(question.keep_going, "opening the trace");
    if (question.on_progress)
      question.on_progress({"opening", Progress::Unit::bytes, bytes, file->size(), seconds_since(start_ns)});
  });
}

}  // namespace

uint64_t decode_ns(const TraceStep& step, const TraceStep* next) {
  const uint64_t busy = step.busy_ns + step.logits_ns;
  if (busy == 0 || next == nullptr || !next->decode || next->start_ns < step.start_ns + busy) return busy;
  const uint64_t gap = next->start_ns - step.start_ns - busy;
  return gap < kIdleNs ? busy + gap : busy;
}

TracePasses::TracePasses(const TraceQuestion& question, const char* what, int n_passes)
    : question_(question),
      trace_(open_telling(question)),
      what_(what),
      n_total_(trace_->end().n_steps * static_cast<uint64_t>(n_passes)),
      start_ns_(now_ns()) {}

void TracePasses::pass(const std::function<void(const TraceStep&, const TraceStep*)>& on_step) {
  trace_->rewind();
  TraceStep step, next;
  bool more = trace_->next(step);
  while (more) {
    more = trace_->next(next);
    on_step(step, more ? &next : nullptr);
    std::swap(step, next);
    if (++n_done_ % kStepsBetweenReports != 0) continue;
    stop_if_asked(question_.keep_going, what_);
    if (question_.on_progress)
      question_.on_progress({what_, Progress::Unit::steps, n_done_, n_total_, seconds_since(start_ns_)});
  }
}

double TraceTiming::wait(size_t n) const {
  if (n < wait_s.size() && wait_s[n] >= 0) return wait_s[n];
  return n == 0 ? 0 : first_wait_s + static_cast<double>(n) * wait_per_miss_s;
}

double TraceTiming::wait(size_t n, size_t n_guessed, double gb_per_s, double bytes) const {
  const auto read = static_cast<double>(n + n_guessed);
  const double now = wait(n) + static_cast<double>(n_guessed) * wait_per_guess_s;
  if (read == 0 || gb_per_s <= 0 || bytes <= 0) return now;
  const double transfer = read * bytes / (gb_per_s * kBytesPerGb);
  const double transfer_then = disk_gb_per_s > 0 ? read * expert_bytes / (disk_gb_per_s * kBytesPerGb) : 0;
  return std::max(wait(0), now + transfer - transfer_then);
}

TraceTiming learn_timing(const TraceQuestion& question, TracePasses& passes,
                         const std::function<void(const TraceStep&)>& on_step) {
  TraceTiming timing;
  timing.expert_bytes =
      static_cast<double>(question.expert_bytes > 0 ? question.expert_bytes : passes.header().expert_bytes());
  timing.disk_gb_per_s = passes.end().read_gb_per_s();
  const bool tells = passes.header().has_outcomes, timed = passes.header().has_times;
  WaitSums sums;
  double n_steps = 0, n_out_of_use = 0;
  passes.pass([&](const TraceStep& step, const TraceStep* next) {
    if (on_step) on_step(step);
    n_out_of_use += std::accumulate(step.given_back.begin(), step.given_back.end(), 0.0);
    ++n_steps;
    for (const TraceRun& run : step.runs) timing.n_sequences = std::max(timing.n_sequences, run.sequence + 1);
    for (const TraceLayer& layer : step.layers) {
      if (!tells) break;
      const auto missed = static_cast<uint64_t>(layer.n_missed());
      for (CacheStats* stats : {&timing.recorded, step.decode ? &timing.recorded_decode : nullptr}) {
        if (stats == nullptr) continue;
        stats->misses += missed;
        stats->hits += layer.outcomes.size() - missed;
      }
      if (timed && step.decode) sums.add(layer);
      if (step.decode) timing.experts_s += 1e-9 * static_cast<double>(layer.stage_ns[kExpertsStage]);
    }
    if (!step.decode) return;
    timing.n_decoded += static_cast<uint64_t>(step.n_rows);
    const double all_s = 1e-9 * static_cast<double>(decode_ns(step, next));
    timing.decode_s += all_s;
    timing.compute_s += std::max(0.0, all_s - 1e-9 * static_cast<double>(step.fetch_ns()));
  });
  timing.out_of_use = n_out_of_use / std::max(1.0, n_steps);
  learn_waits(sums, timing);
  if (timing.disk_gb_per_s > 0 && timing.decode_s > 0) {
    // Reading a prompt may have met a slower disk, or a colder page cache, than decoding did.
    const double missed_bytes = static_cast<double>(timing.recorded_decode.misses) * timing.expert_bytes;
    timing.disk_gb_per_s = std::max(timing.disk_gb_per_s, missed_bytes / timing.decode_s / kBytesPerGb);
  }
  if (question.compute_s > 0) timing.compute_s = question.compute_s * static_cast<double>(timing.n_decoded);
  if (timing.first_wait_s == 0 && timing.wait_per_miss_s == 0) {  // nothing was read: latency, then the disk's rate
    timing.first_wait_s = kReadLatencyS;
    timing.disk_gb_per_s = 0;
  }
  return timing;
}

TraceSummary summarise(const TraceQuestion& question, const TracePasses& passes, const TraceTiming& timing) {
  const TraceHeader& h = passes.header();
  TraceSummary s;
  s.path = question.path;
  s.model = h.model;
  s.version = h.version;
  s.format = h.format;
  s.cpu = h.cpu;
  s.kernels = h.kernels;
  s.io_mode = h.io_mode;
  s.n_layers = h.n_layers;
  s.n_experts = h.n_experts;
  s.n_used = h.n_used;
  s.n_threads = h.n_threads;
  s.n_tokens = passes.end().n_rows;
  s.n_decoded = passes.end().n_decoded;
  s.n_sequences = timing.n_sequences;
  s.full = passes.end().full;
  s.expert_bytes = static_cast<uint64_t>(timing.expert_bytes);
  s.ram_bytes = h.ram_bytes;
  s.least_cache_share = least_share_of(h);
  s.cache_share = share_of(h, h.classes, timing.out_of_use);
  const double of_all_slots = share_of(h, h.classes, 0);
  const double in_use = of_all_slots > 0 ? s.cache_share / of_all_slots : 1;
  s.cache_bytes = static_cast<uint64_t>(static_cast<double>(h.cache_bytes) * in_use);
  if (h.has_outcomes) s.recorded = timing.recorded;
  if (h.has_outcomes) s.recorded_decode = timing.recorded_decode;
  s.disk_gb_per_s = timing.disk_gb_per_s;
  const auto n_decoded = static_cast<double>(timing.n_decoded);
  if (timing.decode_s > 0) s.tok_per_s = n_decoded / timing.decode_s;
  if (timing.known()) s.compute_s = timing.compute_s / n_decoded;
  return s;
}

}  // namespace flashmoe
