// What services and benchmarks need of the engine beneath them.
#pragma once

#include <memory>

#include "checkpoint/checkpoint.h"
#include "engine/machine_probe.h"
#include "engine/pick_log.h"
#include "engine/sampled_calls.h"
#include "engine/session.h"
#include "flashmoe/engine.h"
#include "text/chat_template.h"

namespace flashmoe {

struct EngineParts {
  SessionParts session;
  const ChatTemplate* chat_template;  // null: text and ids only
  const Checkpoint* checkpoint;       // whose model it is
  SampledCalls* sampled_calls;        // of all answers
};

// An engine whose parts can be had; Engine::open makes no other.
class PartedEngine : public Engine {
 public:
  // Like load, with memory for `n_answers` sequences and for remembered conversations. Throws Error{usage} when the
  // engine was loaded before.
  virtual void load_for(int n_answers) = 0;
  // After load_for. What they refer to lives as long as the engine.
  virtual EngineParts parts() = 0;
  // After load, in a run that records no trace and does not calibrate: keeps what is picked from now on. The log lives
  // as long as the engine.
  virtual PickLog& log_picks() = 0;
  // Before load: it then reads resident experts too, which else are read when they are first picked.
  virtual void fill_while_loading() = 0;
  virtual double load_seconds() const = 0;  // open and load together

  // Measures the machine with this model's threads, kernels and files; some seconds. RAM is measured before load only,
  // in memory of its own, at most a quarter of the limit. Throws Error: io, interrupted.
  virtual Roofs measure_roofs(const RoofsWanted& wanted = {}) const = 0;

  // After load, between two tokens: GB/s at which this engine's threads read a part of the trunk that the token did not
  // end with, for some 2 ms, each time another. 0: the trunk is too small to tell.
  virtual double sample_ram() = 0;
};

// Engine::open, as what it makes.
std::unique_ptr<PartedEngine> open_parted(const EngineOptions& options);

}  // namespace flashmoe
