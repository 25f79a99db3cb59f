// One reading of a trace from its first step to its last, with progress, and what all readings of it learn first.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "experts/trace_reader.h"
#include "flashmoe/trace.h"

namespace flashmoe {

// What a decoded step took without the idle time after it; 0 when times are not known. `next`: the step after, or null.
uint64_t decode_ns(const TraceStep& step, const TraceStep* next);

class TracePasses {
 public:
  // Opens the trace; `what` names the work in progress, n_passes of equal length.
  TracePasses(const TraceQuestion& question, const char* what, int n_passes);

  const TraceHeader& header() const { return trace_->header(); }
  const TraceEnd& end() const { return trace_->end(); }
  // Calls back with each step and the one after it, or null. Throws Error{interrupted}, and what the trace throws.
  void pass(const std::function<void(const TraceStep& step, const TraceStep* next)>& on_step);

 private:
  const TraceQuestion& question_;
  std::unique_ptr<TraceReader> trace_;
  const char* what_;
  uint64_t n_done_ = 0, n_total_;
  uint64_t start_ns_;
};

// How long decoding takes, learnt from the trace: computing, and waiting by the number of experts that a layer missed.
struct TraceTiming {
  uint64_t n_decoded = 0;  // rows of decode steps
  uint64_t n_sequences = 0;
  double compute_s = 0;        // all decode steps together, without waiting; 0: not known
  double experts_s = 0;        // of that, routed experts
  std::vector<double> wait_s;  // [misses] of a layer that no guess was read for, as far as they occurred
  double first_wait_s = 0, wait_per_miss_s = 0;  // a line through them, for counts that did not
  double wait_per_guess_s = 0;                   // more, for a pick that a guess had begun to read
  double disk_gb_per_s = 0;
  double expert_bytes = 0;
  CacheStats recorded, recorded_decode;
  double decode_s = 0;    // all decode steps, waiting included
  double out_of_use = 0;  // slots of the recorded cache, the mean of all steps

  bool known() const { return compute_s > 0; }
  // Seconds that a layer stands still which misses `n` experts and had `n_guessed` begun, with another disk or smaller
  // experts.
  double wait(size_t n, size_t n_guessed, double gb_per_s, double bytes) const;
  // The same with those of the run.
  double wait(size_t n) const;
};
// The recorded times, or what the question says; takes one pass, which `on_step` sees too.
TraceTiming learn_timing(const TraceQuestion& question, TracePasses& passes,
                         const std::function<void(const TraceStep& step)>& on_step = {});

TraceSummary summarise(const TraceQuestion& question, const TracePasses& passes, const TraceTiming& timing);

}  // namespace flashmoe
