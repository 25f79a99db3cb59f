// What services and benchmarks need of the engine beneath them.
#pragma once

#include <string>

#include "checkpoint/checkpoint.h"
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
};

}  // namespace flashmoe
