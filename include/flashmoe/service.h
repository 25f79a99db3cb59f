// Many requests on one model: a bounded queue, one batch of all answers that are being decoded, and a memory of what
// was read before, so that a request that extends a known conversation reads only what is new. Chat, server and page
// stand on this.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/options.h"
#include "flashmoe/session.h"
#include "flashmoe/stats.h"

namespace flashmoe {

struct ServiceOptions {
  static constexpr int kMostParallel = 64, kMostWaiting = 4096;
  int n_parallel = 4;  // answers decoded side by side
  int n_waiting = 64;  // requests that may wait for their turn; further ones are refused
  // Where what was read is kept beyond the end of the service, so that another one of the same model goes on from it;
  // empty: nowhere. The folder is made if its parent can be; several services may share it.
  std::string sessions_folder;
  uint64_t most_session_bytes = uint64_t{4} << 30;  // in that folder; what was used longest ago goes first
};

// What the answer must be. Enforced while sampling: tokens that would leave the language have no chance.
struct Constraint {
  enum class Kind {
    none,
    json_object,  // any JSON object
    json_schema,  // JSON that `schema` validates
    tool_call     // a call of `tool`, or, where that is empty, of any of the request's tools
  };
  Kind kind = Kind::none;
  std::string schema;
  std::string tool;
};

struct Request {
  // An OpenAI-shaped chat request: messages, tools and what else the chat template reads (enable_thinking, ...). Or,
  // when empty, plain text to continue, in which marks count, or, when that is empty too, ids.
  std::string chat_json;
  std::string text;
  std::vector<int32_t> ids;

  GenerateOptions generate;
  Constraint constraint;
  bool parallel_tool_calls = true;   // false: the answer ends after one call
  int n_logprobs = -1;               // likeliest tokens told beside each one; 0: its own only; -1: none
  int64_t max_thinking_tokens = -1;  // then thinking is closed for the model; -1: as long as it likes
};

// A prompt that the context does not hold.
class ContextExceeded : public Error {
 public:
  using Error::Error;
};

struct TokenLogprob {
  int32_t id = 0;
  std::string bytes;  // may be part of a character
  float logprob = 0;  // natural logarithm, of the model's own distribution at temperature 1
};

struct SampledToken {
  TokenLogprob token;
  std::vector<TokenLogprob> likeliest;  // [n_logprobs], likeliest first
};

// How a request went, or goes.
struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;    // of the prompt, known from before
  int64_t answer_tokens = 0;    // reasoning and calls included
  int64_t thinking_tokens = 0;  // of the answer
  double waited_s = 0;          // in the queue
  double prefill_s = 0;
  double ttft_s = 0;  // from submit to the first token
  double decode_s = 0;
};

struct AnswerEvent {
  enum class Kind {
    waiting,    // `done` requests are before this one
    reading,    // `done` of `total` prompt tokens were read
    thinking,   // `text`: more of the reasoning
    content,    // `text`: more of the answer
    tool_call,  // more of call number `call`: `call_id` and `name` are set in its first event, `text` is more of the
                // arguments' JSON
    done        // the last one; `reason`, `usage`
  };
  Kind kind = Kind::done;
  uint64_t done = 0, total = 0;
  std::string text;  // whole UTF-8 characters
  int call = 0;
  std::string call_id, name;
  std::vector<SampledToken> tokens;  // sampled since the event before; empty unless n_logprobs >= 0
  StopReason reason = StopReason::end_of_turn;
  bool called_tools = false;  // with `done`: there were well-formed calls
  std::string stop_text;      // with `done` and StopReason::stop_text: which one
  Usage usage;
};

// An answer in the making. Any one thread; the destructor cancels what is not done, within a step.
class Answer {
 public:
  virtual ~Answer() = default;
  // The next event, in order; nothing when the time is over, or after `done`. Throws the Error that ended the request.
  virtual std::optional<AnswerEvent> next(std::chrono::milliseconds patience) = 0;
  virtual void cancel() = 0;
  virtual bool finished() const = 0;  // `done` or the Error was handed out
};

struct ServiceStats {
  int n_running = 0, n_waiting = 0;
  uint64_t n_requests = 0, n_refused = 0, n_failed = 0, n_cancelled = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;  // over all requests
  // Of answers, read as history while nobody waited, so that the next prompt finds them known.
  uint64_t settled_tokens = 0;
  uint64_t prefilled_tokens = 0;       // computed of prompts, those that were cancelled or begun again included
  double prefill_s = 0, decode_s = 0;  // of the engine's time
  double tok_per_s = 0;                // decoded lately, all answers together
  uint64_t sessions_in_memory = 0, session_bytes_in_memory = 0;
  uint64_t session_files = 0, session_bytes_on_disk = 0;  // in the folder, of all models
  Stats engine;                                           // cache, io, stages, memory
  // Why requests fail until the model is opened anew: a file of it changed while it was in use. Empty: nothing does.
  std::string lasting_fault;
};

// All functions may be called from any thread.
class Service {
 public:
  // Takes the engine over, loads it, and answers on a thread of its own. Throws Error like Engine::load,
  // Error{usage} for options out of range, and Error{io} for a folder of sessions that cannot be written to.
  static std::unique_ptr<Service> start(std::unique_ptr<Engine> engine, const ServiceOptions& options);
  virtual ~Service() = default;  // like stop(), but cannot tell what went wrong
  // Ends all answers with Error{interrupted}, and completes the routing trace that was asked for, if one was. After it
  // only the destructor may be called. Throws Error{io}.
  virtual TraceSize stop() = 0;

  // Throws Error{input} for a request that cannot be answered (bad JSON, an empty prompt, a schema that cannot be
  // enforced, and ContextExceeded), Error{usage} for options out of range, Error{busy} when the queue is full.
  virtual std::unique_ptr<Answer> submit(const Request& request) = 0;
  // Tokens of the prompt that submit would read. Throws like submit, but neither ContextExceeded nor Error{busy}.
  virtual int64_t count_tokens(const Request& request) const = 0;
  virtual ServiceStats stats() const = 0;
  // What went wrong without ending an answer, since the last call, one line each: files of sessions that were skipped,
  // drives that the model is no longer read from.
  virtual std::vector<std::string> take_notes() = 0;
  // What steps failed with since the last call, one line for each reason that was not told lately. Answers that cannot
  // go on tell it, too.
  virtual std::vector<std::string> take_faults() = 0;
  virtual const Engine& engine() const = 0;
};

}  // namespace flashmoe
