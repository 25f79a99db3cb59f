#include "flashmoe/engine.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "engine/bench_record.h"
#include "engine/bound_model.h"
#include "engine/cache_folder.h"
#include "engine/calibration.h"
#include "engine/chat_request.h"
#include "engine/compute_choice.h"
#include "engine/engine_parts.h"
#include "engine/forecast.h"
#include "engine/load_progress.h"
#include "engine/machine_probe.h"
#include "engine/memory_planner.h"
#include "engine/model_notes.h"
#include "engine/model_report.h"
#include "engine/peak_memory.h"
#include "engine/reading.h"
#include "engine/roof_probe.h"
#include "engine/streaming_options.h"
#include "engine/trace_recorder.h"
#include "experts/use_record.h"
#include "memory/memory_limit.h"
#include "model/file_rows.h"
#include "model/trunk.h"

namespace flashmoe {
namespace {

constexpr double kLeastTokensLearnt = 16;

// Of what a token has read last, caches still hold a part.
std::span<const std::byte> larger_part_without(const MatrixView& read_last, std::span<const std::byte> memory) {
  const auto before = static_cast<size_t>(read_last.data - memory.data());
  const size_t behind = before + static_cast<size_t>(read_last.bytes());
  return before >= memory.size() - behind ? memory.first(before) : memory.subspan(behind);
}

class CheckpointEngine final : public PartedEngine {
 public:
  explicit CheckpointEngine(const EngineOptions& options);
  ~CheckpointEngine() override;
  CheckpointEngine(const CheckpointEngine&) = delete;
  CheckpointEngine& operator=(const CheckpointEngine&) = delete;

  void load(int64_t prompt_tokens, int64_t answer_tokens) override;
  MemoryPlan plan(int64_t prompt_tokens, int64_t answer_tokens) const override;
  Roofs measure_roofs(const RoofsWanted& wanted) const override;
  double sample_ram() override { return ram_sampler_ ? ram_sampler_->sample() : 0; }
  Forecast forecast(int64_t prompt_tokens, int64_t answer_tokens, double hit_rate) const override;
  const ModelReport& report() const override { return report_; }
  const MemoryPlan& memory_plan() const override { return placement_.plan; }
  double load_seconds() const override { return load_seconds_; }
  int64_t context_tokens() const override { return placement_.context_tokens; }
  const std::vector<std::string>& notes() const override { return notes_; }
  std::vector<int32_t> tokenize(std::string_view text, Marks marks) const override;
  std::string detokenize(std::span<const int32_t> ids) const override;
  std::vector<int32_t> chat_prompt(std::string_view request_json) const override;
  std::unique_ptr<Session> new_session() override;
  void start_calibration() override;
  std::vector<ColumnImportance> importance() const override;
  TraceSize end_trace() override;
  void load_for(int n_answers) override;
  EngineParts parts() override;
  PickLog& log_picks() override;
  void fill_while_loading() override { fill_while_loading_ = true; }

 private:
  SessionParts session_parts();
  Placement place(const Reading& reading, int64_t prompt_tokens, int64_t answer_tokens) const;
  void load_weights(Reading& reading);
  RowsOf rows_of_embedding() const { return placement_.plan.left_in_file_bytes > 0 ? RowsOf::file : RowsOf::memory; }
  void recall_use();
  std::vector<int32_t> turn_ends() const;
  const Tokenizer& tokenizer() const;

  uint64_t start_ns_ = now_ns();
  EngineOptions options_;
  BoundModel model_;
  MachineProbe probe_;
  ModelReport report_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  SampledCalls sampled_calls_;
  std::vector<std::string> notes_;
  std::string use_path_;  // of the record of experts' use; empty when it is not kept
  UseRates earlier_use_;
  uint32_t expert_alignment_ = 1;  // of the reads of experts

  // Empty until load(); in the order that each needs the ones before.
  Placement placement_;
  Budget budget_;
  const KernelTable* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
  Trunk trunk_;
  std::optional<RamSampler> ram_sampler_;  // of the trunk
  std::unique_ptr<ExpertSource> experts_;
  std::unique_ptr<Workspace> workspace_;
  std::unique_ptr<Forward> forward_;
  std::unique_ptr<Calibration> calibration_;
  std::unique_ptr<TraceRecorder> recorder_;
  std::unique_ptr<PickLog> picks_;
  double load_seconds_ = 0;  // open and load together
  bool session_in_use_ = false;
  bool fill_while_loading_ = false;
  int n_answers_ = 0;  // at once, of a service
};

CheckpointEngine::CheckpointEngine(const EngineOptions& options)
    : options_(options),
      model_(bind_model(options.model_path)),
      probe_(model_, options_),
      report_(report_on(model_)),
      tokenizer_(Tokenizer::load(*model_.checkpoint)),
      chat_template_(ChatTemplate::load(*model_.checkpoint, options.chat_template_path)) {
  report_.has_tokenizer = tokenizer_ != nullptr;
  report_.has_chat_template = chat_template_ != nullptr;
  if (tokenizer_ != nullptr && tokenizer_->size() > report_.vocab_size) {
    fail(Fault::input, "{}: the tokenizer has {} tokens, but the model only {}", report_.path, tokenizer_->size(),
         report_.vocab_size);
  }
  if (options.verify_reads == VerifyChoice::always && !model_.experts.at(0, 0).checksum) {
    fail(Fault::usage, "--verify-reads always: {} has no checksums; a folder that flashmoe pack wrote has",
         report_.path);
  }
  notes_ = notes_on(report_, *model_.checkpoint, chat_template_.get(), options.n_threads);
  load_seconds_ = seconds_since(start_ns_);
}

CheckpointEngine::~CheckpointEngine() {
  try {
    end_trace();
  } catch (const Error&) {
    // The file has no end mark, which says it.
  }
  if (use_path_.empty() || experts_ == nullptr) return;
  const UseRates run = experts_->use_rates();
  // What a run too short to tell anything adds is not worth a write. Nor is a disk that refuses worth an error.
  if (run.n_tokens >= kLeastTokensLearnt) save_use_rates(use_path_, joined(earlier_use_, run));
}

void CheckpointEngine::recall_use() {
  const std::string folder = user_cache_folder();
  if (!options_.learn || folder.empty()) return;
  use_path_ = model_record_path(folder, report_.files, report_.file_bytes) + ".use";
  std::string note;
  earlier_use_ = load_use_rates(use_path_, model_.experts.n_layers, model_.experts.n_experts, note);
  if (!note.empty()) notes_.push_back(note);
}

Placement CheckpointEngine::place(const Reading& reading, int64_t prompt_tokens, int64_t answer_tokens) const {
  const bool starts = pool_ == nullptr;
  const int n_threads = starts ? choose_threads(options_.n_threads) : pool_->size();
  Placement placement = plan_memory(
      {model_.family->config(), model_.experts, report_.trunk_bytes, resident_set_bytes(), reading.alignment(),
       prompt_tokens, answer_tokens, options_, detect_memory_limit(stack_bytes(starts ? n_threads : 0)),
       reading.loading_alignment(), n_answers_, left_in_file(*model_.binder, reading.alignment()), n_threads});
  if (options_.read_ahead == ReadAheadChoice::on && placement.plan.experts_resident) {
    fail(Fault::usage,
         "--read-ahead on: all experts have a place in memory, so none would be read ahead; leave it away");
  }
  return placement;
}

MemoryPlan CheckpointEngine::plan(int64_t prompt_tokens, int64_t answer_tokens) const {
  if (forward_ != nullptr) return placement_.plan;
  return place(Reading(*model_.checkpoint, options_), prompt_tokens, answer_tokens).plan;
}

Roofs CheckpointEngine::measure_roofs(const RoofsWanted& wanted) const {
  RoofsWanted measured = wanted;
  measured.ram = wanted.ram && forward_ == nullptr;
  return probe_.roofs(measured);
}

Forecast CheckpointEngine::forecast(int64_t prompt_tokens, int64_t answer_tokens, double hit_rate) const {
  Reading reading(*model_.checkpoint, options_);
  const ExpertTable& experts = model_.experts;
  const ModelConfig& config = model_.family->config();
  const int64_t room = (options_.context_tokens > 0 ? options_.context_tokens : config.context_tokens) - prompt_tokens;
  const Placement placement = place(reading, prompt_tokens, std::clamp<int64_t>(room, 0, answer_tokens));
  const int64_t prefill_rows = std::min(placement.prefill_chunk, prompt_tokens);
  const double position = static_cast<double>(prompt_tokens) + static_cast<double>(answer_tokens) / 2;
  if (hit_rate >= 0 && placement.plan.experts_resident) {
    fail(Fault::usage, "--hit-rate: all experts have a place in memory, so none would be missed; leave it away");
  }
  Forecast f;
  f.plan = placement.plan;
  f.context_tokens = placement.context_tokens;
  f.prefill_chunk = placement.prefill_chunk;
  f.speeds = probe_.speeds(reading, placement, prefill_rows, position);
  f.cache_share = f.plan.cached_share(static_cast<int64_t>(position));
  const BenchRecord seen(user_cache_folder(), report_.files, report_.file_bytes);
  const std::string machine =
      machine_of(choose_threads(options_.n_threads), choose_kernels(options_.kernels).name, options_.exact);
  if (!f.plan.experts_resident) {
    f.hit_rate = hit_rate >= 0 ? hit_rate : expected_hit_rate(seen.points(), f.cache_share);
    f.hit_rate_source = hit_rate >= 0      ? "as given"
                        : seen.know_hits() ? "from benchmarks of this model"
                                           : "usual for this share of experts";
  }
  const double record_bytes = static_cast<double>(experts.bytes()) / static_cast<double>(experts.records.size());
  const double shared = static_cast<double>(config.d_ff_shared) / static_cast<double>(config.d_ff_expert);
  ForecastModel model{experts.n_layers, experts.n_experts, experts.n_used, record_bytes, shared * f.speeds.expert_s};
  seen.tell(machine, f.cache_share, model);
  if (prefill_rows < kLeastPrefill) model.prefill_compute_s = 0;
  complete(f, model, static_cast<double>(prefill_rows));
  return f;
}

void CheckpointEngine::load(int64_t prompt_tokens, int64_t answer_tokens) {
  if (forward_ != nullptr) return;
  const uint64_t start_ns = now_ns();
  const ModelConfig& config = model_.family->config();
  kernels_ = &choose_kernels(options_.kernels);
  pool_ = std::make_unique<ThreadPool>(choose_threads(options_.n_threads));
  Reading reading(*model_.checkpoint, options_);
  placement_ = place(reading, prompt_tokens, answer_tokens);
  apply(placement_, budget_);
  load_weights(reading);
  workspace_ = std::make_unique<Workspace>(
      config, workspace_shape(model_.experts, placement_.max_rows, options_.exact, pool_->size()), budget_);
  forward_ = std::make_unique<Forward>(*model_.family, *kernels_, *pool_, *experts_, *workspace_, options_.exact);
  forward_->set_blocks(DeltaBlocks(turn_ends()));
  if (rows_of_embedding() == RowsOf::file) {
    forward_->set_embedding(
        std::make_unique<FileRows>(*model_.binder->rows(), *model_.checkpoint, reading.untried_queue(),
                                   reading.direct() ? reading.alignment() : 1, budget_, trunk_.drives_without_rows()));
  }
  recorder_ =
      start_trace({model_, placement_, report_, expert_alignment_, earlier_use_.rates, kernels_->name, pool_->size()},
                  options_.trace, *experts_, *forward_);
  load_seconds_ += seconds_since(start_ns);
}

std::vector<int32_t> CheckpointEngine::turn_ends() const {
  std::vector<int32_t> ids;
  for (int32_t id = 0; tokenizer_ != nullptr && id < tokenizer_->size(); ++id) {
    if (tokenizer_->ends_turn(id)) ids.push_back(id);
  }
  return ids;
}

TraceSize CheckpointEngine::end_trace() {
  if (recorder_ == nullptr) return {};
  forward_->set_observer(nullptr);
  const auto recorder = std::move(recorder_);
  const TraceEnd end = recorder->finish();
  return {end.n_rows, end.full};
}

void CheckpointEngine::load_weights(Reading& reading) {
  const bool resident = placement_.plan.experts_resident;
  const Checkpoint& checkpoint = *model_.checkpoint;
  const bool fill = resident && fill_while_loading_;
  const RowsOf rows = rows_of_embedding();
  LoadProgress progress(options_, Trunk::bytes(*model_.binder, rows) + (fill ? report_.expert_bytes : 0));
  auto queue = resident ? reading.loading_queue() : reading.streaming_queue(model_.experts, budget_);
  const bool direct = reading.direct();
  const KernelTable* interleave_for = options_.exact ? nullptr : kernels_;
  trunk_.load(*model_.binder, checkpoint,
              {*queue, *pool_, direct, options_.verify_reads != VerifyChoice::never, interleave_for, rows}, budget_,
              progress.part());
  ram_sampler_.emplace(*pool_, larger_part_without(model_.family->lm_head(), trunk_.memory()));
  if (!resident && !direct) {
    for (const auto& file : checkpoint.files()) file->drop_page_cache();
  }
  recall_use();
  StreamedOptions how =
      streaming_options(options_, placement_, model_.experts, reading, pool_->size(), budget_, earlier_use_.rates);
  how.interleave_for = interleave_for;
  how.pool = &*pool_;
  expert_alignment_ = how.alignment;
  experts_ = make_streamed_experts(model_.experts, checkpoint.files(), std::move(queue), how, budget_);
  if (fill) experts_->fill(progress.part());
}

const Tokenizer& CheckpointEngine::tokenizer() const {
  if (tokenizer_ == nullptr) {
    fail(Fault::unsupported,
         "{}: has no tokenizer, so it cannot read or write text; fetch tokenizer.json into its folder", report_.path);
  }
  return *tokenizer_;
}

std::vector<int32_t> CheckpointEngine::tokenize(std::string_view text, Marks marks) const {
  return tokenizer().encode(text, marks);
}

std::string CheckpointEngine::detokenize(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += tokenizer().bytes(id);
  return text;
}

std::vector<int32_t> CheckpointEngine::chat_prompt(std::string_view request_json) const {
  const Tokenizer& words = tokenizer();
  if (chat_template_ == nullptr) {
    fail(Fault::unsupported, "{}: the checkpoint has no chat template; give the prompt as it is with --raw",
         report_.path);
  }
  return chat_template_->encode(parse_chat_request(request_json), words);
}

SessionParts CheckpointEngine::session_parts() {
  Stats base;
  base.load_s = load_seconds_;
  base.budget_bytes = placement_.plan.budget_bytes();
  base.kernels = kernels_->name;
  base.n_threads = pool_->size();
  base.exact = options_.exact;
  return {*forward_,
          tokenizer_.get(),
          *experts_,
          budget_,
          placement_.kv_format,
          placement_.context_tokens,
          placement_.prefill_chunk,
          base,
          options_.on_progress,
          options_.keep_going,
          &session_in_use_};
}

std::unique_ptr<Session> CheckpointEngine::new_session() {
  load(0, 0);
  return make_session(session_parts());
}

void CheckpointEngine::load_for(int n_answers) {
  if (forward_ != nullptr) fail(Fault::usage, "a service loads its engine itself; this one is loaded already");
  n_answers_ = n_answers;
  load(0, 0);
}

EngineParts CheckpointEngine::parts() {
  return {session_parts(), chat_template_.get(), model_.checkpoint.get(), &sampled_calls_};
}

PickLog& CheckpointEngine::log_picks() {
  CHECK(forward_ != nullptr && recorder_ == nullptr && calibration_ == nullptr);
  picks_ = std::make_unique<PickLog>(model_.experts, expert_alignment_);
  forward_->set_observer(picks_.get());
  return *picks_;
}

void CheckpointEngine::start_calibration() {
  if (!options_.exact) fail(Fault::usage, "calibration needs activations in 32-bit floats: open the engine with exact");
  load(0, 0);
  calibration_ = std::make_unique<Calibration>(*model_.binder, *model_.family);
  forward_->set_observer(calibration_.get());
}

std::vector<ColumnImportance> CheckpointEngine::importance() const {
  return calibration_ == nullptr ? std::vector<ColumnImportance>() : calibration_->result();
}

}  // namespace

ModelReport Engine::inspect(const std::string& model_path) {
  EngineOptions options;
  options.model_path = model_path;
  return CheckpointEngine(options).report();
}

std::unique_ptr<PartedEngine> open_parted(const EngineOptions& options) {
  return std::make_unique<CheckpointEngine>(options);
}

std::unique_ptr<Engine> Engine::open(const EngineOptions& options) { return open_parted(options); }

std::string builtin_model_path() {
  std::error_code error;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const auto path = binary.parent_path().parent_path() / "share/flashmoe/models/spark/spark.gguf";
  return std::filesystem::exists(path, error) ? path.lexically_normal().string() : std::string();
}

}  // namespace flashmoe
