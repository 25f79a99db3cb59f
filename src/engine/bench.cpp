#include "flashmoe/bench.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/random.h"
#include "engine/bench_record.h"
#include "engine/cache_folder.h"
#include "engine/engine_parts.h"
#include "engine/model_report.h"
#include "engine/peak_memory.h"
#include "engine/roof_looks.h"
#include "engine/spread.h"
#include "flashmoe/session.h"

namespace flashmoe {
namespace {

constexpr double kDiskSeconds = 1;  // for one look at a drive

// Of all experts: caches for which is remembered what they would have hit.
constexpr std::array kOtherShares = {0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};

// What one repetition took.
struct Repetition {
  Roofs roofs;  // around it; of RAM during its decode
  Stats after_prefill, after_decode;
  CacheStats cache_before;
  IoStats io_before;
};

// Ids that look like no text: a router given the same token over and over would pick the same experts.
std::vector<int32_t> made_up_prompt(int64_t n, int64_t vocab_size, uint64_t repetition) {
  std::vector<int32_t> ids;
  SplitMix random(repetition * 0x9E3779B97F4A7C15 + 1);
  while (static_cast<int64_t>(ids.size()) < n) {
    ids.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab_size))));
  }
  return ids;
}

// Tells of tokens that are decoded piece by piece as of one answer.
class DecodeProgress {
 public:
  explicit DecodeProgress(std::function<void(const Progress&)> tell) : tell_(std::move(tell)) {}

  void operator()(Progress step) {
    if (!tell_) return;
    if (n_tokens_ > 0) step = {step.what, step.unit, n_done_ + step.done, n_tokens_, seconds_ + step.seconds};
    tell_(step);
  }
  void set_piece(int64_t n_done, int64_t n_tokens, double seconds) {
    n_done_ = static_cast<uint64_t>(n_done);
    n_tokens_ = static_cast<uint64_t>(n_tokens);
    seconds_ = seconds;
  }

 private:
  std::function<void(const Progress&)> tell_;
  uint64_t n_done_ = 0, n_tokens_ = 0;  // decoded before this piece, and in all; 0: nothing is being decoded
  double seconds_ = 0;                  // that they took
};

// With a look at the memory after each piece: where two processors of a virtual machine are placed on their host
// decides how fast they read together, and that changes every few seconds. GB/s; 0: not seen.
double decode_and_look(PartedEngine& engine, Session& session, int64_t n, DecodeProgress& progress) {
  RoofMean ram;
  double tok_per_s = 0;  // so far
  for (int64_t done = 0; done < n;) {
    const PhaseStats before = session.stats().decode;
    progress.set_piece(done, n, before.seconds);
    const auto piece = std::clamp<int64_t>(std::llround(tok_per_s * kPieceSeconds), 1, n - done);
    session.decode(piece);
    done += piece;
    const PhaseStats after = session.stats().decode;
    tok_per_s = after.tok_per_s();
    ram.add(after.seconds - before.seconds, engine.sample_ram());
  }
  progress.set_piece(0, 0, 0);
  return ram.mean();
}

Repetition repeat(PartedEngine& engine, const BenchOptions& bench, uint64_t number, DecodeProgress& progress) {
  Repetition result;
  const auto session = engine.new_session();
  const Stats before = session->stats();
  result.cache_before = before.cache;
  result.io_before = before.io;
  session->prefill(made_up_prompt(bench.prompt_tokens, engine.report().vocab_size, number));
  result.after_prefill = session->stats();
  result.roofs.ram_gb_per_s = decode_and_look(engine, *session, bench.gen_tokens, progress);
  result.after_decode = session->stats();
  return result;
}

double hit_rate(const CacheStats& from, const CacheStats& to) {
  const uint64_t hits = to.hits - from.hits, misses = to.misses - from.misses;
  return hits + misses == 0 ? 1.0 : static_cast<double>(hits) / static_cast<double>(hits + misses);
}

enum class Phase { prefill, decode };

// Folds the repetitions into one phase; the first one is the warm-up.
BenchPhase summarise(const std::vector<Repetition>& all, int64_t tokens, Phase which) {
  const bool decode = which == Phase::decode;
  BenchPhase phase;
  phase.tokens = tokens;
  std::vector<double> speeds;
  CacheStats sum;
  double bytes = 0, wait_s = 0;
  for (const Repetition& r : all) {
    speeds.push_back(decode ? r.after_decode.decode.tok_per_s() : r.after_prefill.prompt.tok_per_s());
    if (&r == &all.front()) continue;
    const CacheStats &from = decode ? r.after_prefill.cache : r.cache_before,
                     &to = decode ? r.after_decode.cache : r.after_prefill.cache;
    sum.hits += to.hits - from.hits;
    sum.misses += to.misses - from.misses;
    const IoStats &io_from = decode ? r.after_prefill.io : r.io_before,
                  &io_to = decode ? r.after_decode.io : r.after_prefill.io;
    bytes += static_cast<double>(io_to.bytes_read - io_from.bytes_read);
    wait_s += 1e-9 * static_cast<double>(io_to.wait_ns - io_from.wait_ns);
  }
  phase.warm_up = speeds.front();
  speeds.erase(speeds.begin());
  const Spread spread = spread_of(speeds);
  phase.tok_per_s = spread.median;
  phase.spread = spread.spread;
  phase.hit_rate = hit_rate({}, sum);
  const double n_tokens = static_cast<double>(tokens) * static_cast<double>(speeds.size());
  phase.bytes_missed = bytes / n_tokens;
  phase.disk_wait_s = wait_s / n_tokens;
  return phase;
}

// All but the warm-up.
std::span<const Repetition> measured_of(const std::vector<Repetition>& all) { return std::span(all).subspan(1); }

Roofs typical_roofs(const std::vector<Repetition>& all) {
  std::vector<Roofs> measured;
  for (const Repetition& r : measured_of(all)) measured.push_back(r.roofs);
  return median_of(measured);
}

double disk_share(const Repetition& r) {
  const double n_tokens = static_cast<double>(r.after_decode.decode.timed_tokens);
  const auto bytes = static_cast<double>(r.after_decode.io.bytes_read - r.after_prefill.io.bytes_read);
  return bytes / n_tokens * r.after_decode.decode.tok_per_s() / (r.roofs.disk_gb_per_s * 1e9);
}

void check_context(const BenchOptions& bench, int64_t context_tokens) {
  if (bench.prompt_tokens + bench.gen_tokens <= context_tokens) return;
  fail(Fault::usage, "{} tokens of prompt and {} of answer do not fit a context of {}; ask for fewer, or raise --ctx",
       bench.prompt_tokens, bench.gen_tokens, context_tokens);
}

void check(const BenchOptions& bench) {
  if (bench.prompt_tokens < 1 || bench.gen_tokens < 1 || bench.n_repetitions < 1) {
    fail(Fault::usage, "a benchmark needs at least one token of prompt and of answer, and one repetition");
  }
}

// Of decode, as BenchPoint has it.
double waited_share(const BenchResult& r) {
  const double read_s = r.roofs.disk_gb_per_s > 0 ? r.decode.bytes_missed / (r.roofs.disk_gb_per_s * 1e9) : 0;
  return read_s > 0 ? r.decode.disk_wait_s / read_s : 0;
}

struct Measured {
  std::vector<Repetition> repetitions;
  std::vector<BenchPoint> others;  // caches of other sizes
};

Measured measure(const EngineOptions& options, const BenchOptions& bench, BenchResult& result) {
  EngineOptions whole = options;
  whole.learn = false;  // random tokens are nobody's habit
  DecodeProgress progress(options.on_progress);
  if (options.on_progress) whole.on_progress = std::ref(progress);
  const auto engine = open_parted(whole);
  engine->fill_while_loading();
  check_context(bench, options.context_tokens > 0 ? options.context_tokens : engine->report().context_tokens);
  result.plan = engine->plan(bench.prompt_tokens, bench.gen_tokens);
  const RoofsWanted wanted{.disk = !result.plan.experts_resident, .disk_seconds = kDiskSeconds};
  RoofLooks roofs([&] { return engine->measure_roofs(wanted); });
  forget_peak_resident_set();
  engine->load(bench.prompt_tokens, bench.gen_tokens);
  check_context(bench, engine->context_tokens());  // less than that where memory is short
  result.plan = engine->memory_plan();
  result.model = engine->report();
  result.load_s = engine->load_seconds();
  PickLog* picks = bench.remember ? &engine->log_picks() : nullptr;
  Measured measured;
  std::vector<Repetition>& all = measured.repetitions;
  for (int i = 0; i <= bench.n_repetitions; ++i) {
    if (i > 0) forget_peak_resident_set();  // that of the look at the machine
    if (i == 1 && picks != nullptr) picks->count_from_here();
    all.push_back(repeat(*engine, bench, static_cast<uint64_t>(i), progress));
    all.back().roofs = with_ram_of(all.back().roofs, roofs.around());
  }
  if (picks != nullptr) measured.others = picks->hit_rates(kOtherShares, options.keep_going);
  return measured;
}

// For forecasts.
void remember(const BenchOptions& bench, const BenchResult& result, std::span<const BenchPoint> others) {
  const auto compute_s = [](const BenchPhase& phase) { return 1 / phase.tok_per_s - phase.disk_wait_s; };
  BenchRecord rates(user_cache_folder(), result.model.files, result.model.file_bytes);
  const double share =
      static_cast<double>(result.stats.cache.bytes) / static_cast<double>(result.plan.experts_total_bytes);
  rates.remember({.share = std::min(1.0, share),
                  .hit_rate = result.decode.hit_rate,
                  .compute_s = compute_s(result.decode),
                  .prefill_compute_s = bench.prompt_tokens >= kLeastPrefill ? compute_s(result.prefill) : 0,
                  .waited_share = waited_share(result),
                  .machine = machine_of(result.stats.n_threads, result.stats.kernels, result.stats.exact)});
  rates.remember_others(others);
}

}  // namespace

BenchResult run_bench(const EngineOptions& options, const BenchOptions& bench) {
  check(bench);
  BenchResult result;
  const auto [all, others] = measure(options, bench, result);
  result.stats = all.back().after_decode;
  for (const Repetition& r : all)
    result.stats.peak_bytes = std::max(result.stats.peak_bytes, r.after_decode.peak_bytes);
  result.roofs = typical_roofs(all);
  result.prefill = summarise(all, bench.prompt_tokens, Phase::prefill);
  result.decode = summarise(all, bench.gen_tokens, Phase::decode);
  std::vector<double> first_tokens;
  for (const Repetition& r : all) first_tokens.push_back(r.after_decode.ttft_s);
  result.first_token_warm_up_s = first_tokens.front();
  first_tokens.erase(first_tokens.begin());
  result.first_token_s = spread_of(first_tokens).median;

  const double mean_position = static_cast<double>(bench.prompt_tokens) + static_cast<double>(bench.gen_tokens + 1) / 2;
  result.bytes_per_token = decode_bytes_per_token(result.model, result.plan, mean_position);
  result.ram_roof_share = median_of(measured_of(all), [&](const Repetition& r) {
    const double bytes_per_s = r.after_decode.decode.tok_per_s() * static_cast<double>(result.bytes_per_token);
    return bytes_per_s / (r.roofs.ram_gb_per_s * 1e9);
  });
  if (bench.remember) remember(bench, result, others);
  if (result.decode.bytes_missed > 0 && result.roofs.disk_gb_per_s > 0) {
    result.disk_roof_share = median_of(measured_of(all), disk_share);
  }
  return result;
}

}  // namespace flashmoe
