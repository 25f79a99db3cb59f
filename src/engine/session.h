// The Session of the public face, on one Sequence.
#pragma once

#include <optional>

#include "flashmoe/session.h"
#include "model/forward.h"
#include "text/tokenizer.h"

namespace flashmoe {

// What a session needs of its engine; all outlive it.
struct SessionParts {
  Forward& forward;
  const Tokenizer* tokenizer;  // null: token ids only
  const ExpertSource& experts;
  Budget& budget;
  KvFormat kv_format;
  int64_t context_tokens;
  int64_t prefill_chunk;
  Stats base;  // load time, budget, kernels, threads
  std::function<void(const Progress&)> on_progress;
  std::function<bool()> keep_going;
  bool* in_use;  // set while the session lives
};

std::unique_ptr<Session> make_session(const SessionParts& parts);

}  // namespace flashmoe
