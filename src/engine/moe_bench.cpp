#include "flashmoe/moe_bench.h"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/keep_going.h"
#include "base/random.h"
#include "engine/bound_model.h"
#include "engine/compute_choice.h"
#include "engine/machine_probe.h"
#include "engine/memory_planner.h"
#include "engine/model_report.h"
#include "engine/peak_memory.h"
#include "engine/pick_source.h"
#include "engine/reading.h"
#include "engine/roof_looks.h"
#include "engine/roof_probe.h"
#include "engine/spread.h"
#include "engine/streaming_options.h"
#include "memory/memory_limit.h"
#include "model/matmul.h"
#include "model/stages/combine.h"
#include "model/stages/routed_experts.h"
#include "model/stages/router.h"

namespace flashmoe {
namespace {

constexpr double kBytesPerGb = 1e9;
constexpr double kDiskSeconds = 1;  // for one look at a drive

// Bytes that this process had from drives, not from the page cache; none where the system does not tell.
std::optional<uint64_t> bytes_from_drives() {
  std::ifstream io("/proc/self/io");
  for (std::string name; io >> name;) {
    uint64_t bytes = 0;
    if (!(io >> bytes)) break;
    if (name == "read_bytes:") return bytes;
  }
  return std::nullopt;
}

// What one repetition took.
struct Repetition {
  Roofs roofs;  // around it; of RAM during it, where there is room to look
  double seconds = 0, compute_s = 0;
  uint64_t bytes_computed = 0;
  int64_t tokens = 0;
  CacheStats cache;
  IoStats io;
  std::optional<uint64_t> bytes_from_drives;
};

// The experts of a model and what computes them, without the rest of it.
class ExpertsAlone {
 public:
  ExpertsAlone(const EngineOptions& options, const MoeBenchOptions& bench)
      : options_(options),
        model_(bind_model(options.model_path)),
        config_(model_.family->config()),
        table_(model_.experts),
        kernels_(choose_kernels(options.kernels)),
        pool_(choose_threads(options.n_threads)) {
    choose(bench);
    config_.d_ff_shared = 0;  // the shared expert is part of the trunk
    config_.n_experts_used = table_.n_used = n_used_;
    reading_.emplace(*model_.checkpoint, options_);
    placement_ =
        plan_memory({config_, table_, report_on(model_).trunk_bytes, resident_set_bytes(), reading_->alignment(), 0, 0,
                     options_, detect_memory_limit(stack_bytes(0)), reading_->loading_alignment(), 0,
                     left_in_file(*model_.binder, reading_->alignment()), pool_.size()});
  }

  void open() {
    const bool resident = placement_.plan.experts_resident;
    apply(placement_, budget_);
    auto queue = resident ? reading_->loading_queue() : reading_->streaming_queue(table_, budget_);
    StreamedOptions how = streaming_options(options_, placement_, table_, *reading_, pool_.size(), budget_, {});
    how.warm_up = false;  // only what is picked is read
    how.interleave_for = options_.exact ? nullptr : &kernels_;
    how.pool = &pool_;
    if (!how.direct) {
      for (const auto& file : model_.checkpoint->files()) file->drop_page_cache();
    }
    experts_ = make_streamed_experts(table_, model_.checkpoint->files(), std::move(queue), how, budget_);
    make_room_to_look();
    workspace_.emplace(config_, workspace_shape(table_, placement_.max_rows, options_.exact, pool_.size()), budget_);
    profile_.on = true;
    step_.emplace(Step{config_, kernels_, pool_, *experts_, *workspace_, profile_, nullptr, options_.exact, {}});
    tokens_.assign(static_cast<size_t>(placement_.max_rows), 0);
    SplitMix random(1);
    for (float& value : workspace_->h.f32) value = static_cast<float>(random.below(2001)) * 1e-3F - 1;
    step_->batch.tokens = tokens_;
    quantise(*step_, workspace_->h, 0, placement_.max_rows);
  }

  // Whether RAM can be read beside the experts: where the trunk would be, which is not loaded, and what the plan gave
  // to nothing.
  bool has_room() const {
    const MemoryPlan& plan = placement_.plan;
    const uint64_t bytes = report_on(model_).trunk_bytes - plan.left_in_file_bytes + plan.spare_bytes();
    return MachineProbe(model_, options_).working_set_bytes() <= bytes;
  }

  Roofs measure_roofs() const {
    return MachineProbe(model_, options_)
        .roofs({.ram = experts_ == nullptr, .int8 = false, .disk_seconds = kDiskSeconds});
  }

  // Every expert that has a place in memory for good.
  void fill() {
    if (placement_.plan.experts_resident) experts_->fill([&](uint64_t) { stop_if_asked(); });
  }

  Repetition repeat(PickSource& picks, int64_t n_tokens, const std::function<void(int64_t)>& on_tokens);

  const BoundModel& model() const { return model_; }
  const ExpertTable& table() const { return table_; }
  const MemoryPlan& plan() const { return placement_.plan; }
  int64_t max_rows() const { return placement_.max_rows; }
  const std::vector<int>& layers() const { return layers_; }
  std::string io_mode() const { return experts_->io_stats().mode; }
  int n_threads() const { return pool_.size(); }
  const char* kernels() const { return kernels_.name; }
  double cache_share() const {
    const double layers = static_cast<double>(layers_.size()) / static_cast<double>(table_.n_layers);
    const double all = layers * static_cast<double>(table_.bytes());
    return std::min(1.0, static_cast<double>(experts_->cache_stats().bytes) / all);
  }

 private:
  void choose(const MoeBenchOptions& bench) {
    layers_ = bench.layers;
    std::sort(layers_.begin(), layers_.end());
    layers_.erase(std::unique(layers_.begin(), layers_.end()), layers_.end());
    if (layers_.empty()) {
      layers_.resize(static_cast<size_t>(table_.n_layers));
      std::iota(layers_.begin(), layers_.end(), 0);
    }
    for (const int layer : layers_) {
      if (layer < 0 || layer >= table_.n_layers) {
        fail(Fault::usage, "--layers: there is no layer {}; this model has 0 to {}", layer, table_.n_layers - 1);
      }
    }
    n_used_ = bench.n_used > 0 ? bench.n_used : table_.n_used;
    if (n_used_ > table_.n_experts) {
      fail(Fault::usage, "--k {}: a layer of this model has {} experts", n_used_, table_.n_experts);
    }
  }
  void stop_if_asked() const { flashmoe::stop_if_asked(options_.keep_going, "measuring the experts"); }
  void make_room_to_look() {
    if (!has_room()) return;
    const uint64_t bytes = MachineProbe(model_, options_).working_set_bytes();
    looked_at_budget_.allot(Allotted::workspace, bytes);
    looked_at_ = Buffer(looked_at_budget_, Allotted::workspace, bytes);
    write_pages(looked_at_.span(), options_.keep_going);
    ram_sampler_.emplace(pool_, looked_at_.span());
  }
  uint64_t pass(const TraceStep& picked);

  const EngineOptions& options_;
  BoundModel model_;
  ModelConfig config_;  // of a model that is its routed experts
  ExpertTable table_;
  const KernelTable& kernels_;
  ThreadPool pool_;
  std::vector<int> layers_;
  int n_used_ = 0;
  std::optional<Reading> reading_;
  Placement placement_;
  Budget budget_;
  Budget looked_at_budget_;  // of memory that no run has, where the plan has its trunk
  Buffer looked_at_;
  std::optional<RamSampler> ram_sampler_;
  std::unique_ptr<ExpertSource> experts_;
  std::optional<Workspace> workspace_;
  Profile profile_;
  std::vector<int32_t> tokens_;  // [max_rows] of no meaning: a step has as many rows as tokens
  std::optional<Step> step_;
};

// The step's rows through the experts of all chosen layers; the bytes of their weights.
uint64_t ExpertsAlone::pass(const TraceStep& picked) {
  auto& moe = workspace_->moe;
  step_->batch.tokens = std::span(tokens_).first(static_cast<size_t>(picked.n_rows));
  experts_->begin_step();
  uint64_t bytes = 0;
  for (const int layer : layers_) {
    const std::vector<int32_t>& experts_of_rows = picked.layers[static_cast<size_t>(layer)].experts;
    std::copy(experts_of_rows.begin(), experts_of_rows.end(), moe.experts.begin());
    std::fill_n(moe.weights.begin(), experts_of_rows.size(), 1.0F / static_cast<float>(n_used_));
    const int n_distinct = group_by_expert(*step_);
    experts(*step_, layer, n_distinct, fetch(*step_, layer, n_distinct), nullptr, nullptr);
    combine(*step_);
    for (int i = 0; i < n_distinct; ++i) bytes += table_.at(layer, moe.distinct[static_cast<size_t>(i)]).bytes();
  }
  return bytes;
}

Repetition ExpertsAlone::repeat(PickSource& picks, int64_t n_tokens, const std::function<void(int64_t)>& on_tokens) {
  const auto compute_ns = [&] {
    return profile_.times.ns[static_cast<size_t>(profile_.kind)][static_cast<size_t>(Stage::experts)];
  };
  const CacheStats cache = experts_->cache_stats();
  const IoStats io = experts_->io_stats();
  const auto from_drives = bytes_from_drives();
  const uint64_t compute_before_ns = compute_ns();
  Repetition r;
  RoofMean ram;
  double piece_s = 0;  // since the last look
  TraceStep picked;
  while (r.tokens < n_tokens) {
    stop_if_asked();
    picks.next(picked);
    const uint64_t start_ns = now_ns();
    r.bytes_computed += pass(picked);
    const double seconds = seconds_since(start_ns);
    r.seconds += seconds;
    piece_s += seconds;
    r.tokens += picked.n_rows;
    if (ram_sampler_ && (piece_s >= kPieceSeconds || r.tokens >= n_tokens)) {
      ram.add(std::exchange(piece_s, 0), ram_sampler_->sample());
    }
    on_tokens(r.tokens);
  }
  r.roofs.ram_gb_per_s = ram.mean();
  r.compute_s = 1e-9 * static_cast<double>(compute_ns() - compute_before_ns);
  r.cache = experts_->cache_stats();
  r.cache.hits -= cache.hits;
  r.cache.misses -= cache.misses;
  r.io = experts_->io_stats();
  r.io.bytes_read -= io.bytes_read;
  r.io.busy_ns -= io.busy_ns;
  r.io.wait_ns -= io.wait_ns;
  const auto from_drives_now = bytes_from_drives();
  if (from_drives && from_drives_now) r.bytes_from_drives = *from_drives_now - *from_drives;
  return r;
}

double disk_share(const Repetition& r) {
  const double gb_per_s =
      r.io.busy_ns > 0 ? static_cast<double>(r.io.bytes_read) / static_cast<double>(r.io.busy_ns) : 0;
  return gb_per_s / r.roofs.disk_gb_per_s;
}
double ram_share(const Repetition& r) {
  return static_cast<double>(r.bytes_computed) / r.compute_s / kBytesPerGb / r.roofs.ram_gb_per_s;
}
double bound_tok_per_s(const Repetition& r) {
  const double ram_s = static_cast<double>(r.bytes_computed) / (r.roofs.ram_gb_per_s * kBytesPerGb);
  const double disk_s =
      r.io.bytes_read > 0 ? static_cast<double>(r.io.bytes_read) / (r.roofs.disk_gb_per_s * kBytesPerGb) : 0;
  return static_cast<double>(r.tokens) / std::max(ram_s, disk_s);
}

MoeBenchPhase summarise(std::span<const Repetition> all) {
  MoeBenchPhase phase;
  std::vector<double> speeds;
  double tokens = 0, compute_s = 0, computed = 0, read = 0, busy_s = 0, wait_s = 0, from_drives = 0;
  CacheStats cache;
  bool told = true;
  for (const Repetition& r : all) {
    speeds.push_back(static_cast<double>(r.tokens) / r.seconds);
    tokens += static_cast<double>(r.tokens);
    compute_s += r.compute_s;
    computed += static_cast<double>(r.bytes_computed);
    read += static_cast<double>(r.io.bytes_read);
    busy_s += 1e-9 * static_cast<double>(r.io.busy_ns);
    wait_s += 1e-9 * static_cast<double>(r.io.wait_ns);
    cache.hits += r.cache.hits;
    cache.misses += r.cache.misses;
    told = told && r.bytes_from_drives.has_value();
    from_drives += static_cast<double>(r.bytes_from_drives.value_or(0));
  }
  const Spread spread = spread_of(speeds);
  phase.tokens = all.front().tokens;
  phase.tok_per_s = spread.median;
  phase.spread = spread.spread;
  phase.hit_rate = cache.hit_rate();
  phase.bytes_missed = read / tokens;
  phase.bytes_computed = computed / tokens;
  phase.disk_wait_s = wait_s / tokens;
  phase.compute_gb_per_s = computed / compute_s / kBytesPerGb;
  phase.ram_roof_share = median_of(all, ram_share);
  phase.bound_tok_per_s = median_of(all, bound_tok_per_s);
  if (read > 0 && busy_s > 0) {
    phase.io_gb_per_s = read / busy_s / kBytesPerGb;
    phase.disk_roof_share = median_of(all, disk_share);
    if (told) phase.page_cache_share = std::clamp(1 - from_drives / read, 0.0, 1.0);
  }
  return phase;
}

void check(const MoeBenchOptions& bench) {
  if (bench.n_tokens < 1 || bench.n_repetitions < 1) {
    fail(Fault::usage, "a benchmark needs at least one token and one repetition");
  }
}

std::vector<Repetition> measure(ExpertsAlone& alone, PickSource& picks, RoofLooks& roofs, const EngineOptions& options,
                                const MoeBenchOptions& bench) {
  const uint64_t start_ns = now_ns();
  const auto n_all = static_cast<uint64_t>(bench.n_tokens) * (1 + static_cast<uint64_t>(bench.n_repetitions));
  uint64_t n_before = 0;
  const auto tell = [&](int64_t n) {
    if (!options.on_progress) return;
    options.on_progress({n_before == 0 ? "cold run" : "warm runs", Progress::Unit::tokens,
                         std::min(n_all, n_before + static_cast<uint64_t>(n)), n_all, seconds_since(start_ns)});
  };
  std::vector<Repetition> all;
  for (int i = 0; i <= bench.n_repetitions; ++i) {
    if (i == 1) alone.fill();
    all.push_back(alone.repeat(picks, bench.n_tokens, tell));
    all.back().roofs = with_ram_of(all.back().roofs, roofs.around());
    n_before += static_cast<uint64_t>(bench.n_tokens);
  }
  return all;
}

}  // namespace

MoeBenchResult run_moe_bench(const EngineOptions& options, const MoeBenchOptions& bench) {
  check(bench);
  MoeBenchResult result;
  ExpertsAlone alone(options, bench);
  const int n_used = alone.table().n_used;
  const auto picks = bench.trace_path.empty() ? draw_picks(alone.table(), n_used, bench.seed)
                                              : replay_picks(bench.trace_path, alone.table(), n_used, alone.max_rows());
  RoofLooks roofs([&] { return alone.measure_roofs(); });  // once it is known that nothing stands in the way
  alone.open();
  result.model = report_on(alone.model());
  result.plan = alone.plan();
  result.n_layers = static_cast<int>(alone.layers().size());
  result.n_used = n_used;
  result.cache_share = alone.cache_share();
  result.picks = picks->description();
  result.kernels = alone.kernels();
  result.n_threads = alone.n_threads();
  result.exact = options.exact;
  const std::vector<Repetition> all = measure(alone, *picks, roofs, options, bench);
  result.io_mode = alone.io_mode();
  result.trace_rounds = picks->rounds();
  std::vector<Roofs> measured;
  for (const Repetition& r : all) measured.push_back(r.roofs);
  result.roofs = median_of(measured);
  result.ram_roof_once = !alone.has_room();
  result.cold = summarise(std::span(all).first(1));
  result.warm = summarise(std::span(all).subspan(1));
  return result;
}

}  // namespace flashmoe
