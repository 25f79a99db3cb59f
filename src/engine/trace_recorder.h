// Records what a run's router picks, step by step, into a trace (experts/routing_trace.h).
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "engine/bound_model.h"
#include "engine/memory_planner.h"
#include "experts/trace_writer.h"
#include "flashmoe/engine.h"
#include "flashmoe/options.h"
#include "model/forward.h"

namespace flashmoe {

// What a trace's header tells of a run.
struct TracedRun {
  const BoundModel& model;
  const Placement& placement;
  const ModelReport& report;
  uint32_t alignment = 1;           // of reads of experts
  const std::vector<float>& rates;  // the cache started with
  std::string kernels;
  int n_threads = 0;
};
TraceHeader trace_header(const TracedRun& run, const ExpertSource& experts, const TraceOptions& options);

class TraceRecorder final : public Observer {
 public:
  // Throws like TraceWriter's. Switches the profile on, at every step again.
  TraceRecorder(const TraceOptions& options, const TraceHeader& header, const ExpertSource& experts, Profile& profile);

  // Completes the file. Throws Error{io}, also for what could not be written before: a disk that is full ends the
  // recording, not the run.
  TraceEnd finish();

  void began(const Batch& batch) override;
  void hidden(int index, std::span<const float> x) override;
  void scored(int layer, std::span<const float> logits) override;
  void routed(int layer, std::span<const int32_t> experts, std::span<const float> weights) override;
  void fetched(int layer, std::span<const Outcome> outcomes) override;
  void computed(int layer) override;
  void guessed(int layer, std::span<const int32_t> experts) override;
  bool wants_guesses() const override { return header_.has_guesses; }

 private:
  using Times = std::array<uint64_t, kStageCount>;  // of all kinds of layers
  Times times() const;
  void write_step();
  void note_runs(const Batch& batch);

  TraceHeader header_;
  const ExpertSource& experts_;
  Profile& profile_;
  TraceWriter writer_;
  uint64_t begin_ns_;
  TraceStep step_;
  bool complete_ = false;  // step_ went through all layers
  Times before_{};         // the part of step_ that is being computed
  UnaskedReads unasked_;   // up to the layer before
  // Which rows go on with what: a sequence that is not where it was left is another one.
  struct Followed {
    const Sequence* sequence;
    int64_t next_position;
    uint64_t number;
  };
  std::vector<Followed> followed_;
  uint64_t n_sequences_ = 0;
  std::exception_ptr failure_;  // nothing is recorded after it
  std::vector<int32_t> count_;
};

// Records what `forward` computes from now on; null when no trace is asked for. The recorder must be taken off
// `forward` before it ends. Throws like its constructor.
std::unique_ptr<TraceRecorder> start_trace(const TracedRun& run, const TraceOptions& options,
                                           const ExpertSource& experts, Forward& forward);

}  // namespace flashmoe
