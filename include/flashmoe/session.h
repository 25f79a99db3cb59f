// One sequence of tokens and its state.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flashmoe/options.h"
#include "flashmoe/stats.h"

namespace flashmoe {

enum class StopReason { end_of_turn, stop_text, max_tokens, context_full, interrupted };

struct Generation {
  std::vector<int32_t> ids;  // without the token that ended the turn
  std::string text;          // whole UTF-8 characters; special tokens dropped, stop text removed
  StopReason reason = StopReason::end_of_turn;
};

// After any Error but usage and input (a failed read, an interruption) the sequence is lost: only n_tokens and stats
// may be called, everything else throws Error{usage}. The caller's thread computes, and needs 1 MiB of stack.
class Session {
 public:
  virtual ~Session() = default;

  // Appends the prompt, in chunks. Throws Error{input} when empty, too long for the context, or ids are out of range;
  // Error{io} when a read fails; Error{interrupted}.
  virtual void prefill(std::span<const int32_t> ids) = 0;

  // Samples until the model stops. `on_text` gets each piece as it is final (never half a character) and returns
  // false to stop. Needs a prefill first.
  virtual Generation generate(const GenerateOptions& options,
                              const std::function<bool(std::string_view)>& on_text = {}) = 0;

  // Appends the n likeliest tokens one after the other, whatever they are, and makes no text of them: for measuring.
  // Works without a tokenizer. Needs a prefill first, and room in the context. Each token counts as decoded.
  virtual std::vector<int32_t> decode(int64_t n) = 0;

  // Appends the ids and hands out the logits [vocab_size] that follow each of them, in order.
  virtual void logits(std::span<const int32_t> ids,
                      const std::function<void(int64_t row, std::span<const float> logits)>& on_row) = 0;

  // How many of `ids`, were they appended now, end a block that prefill works in. To append so many by themselves
  // changes no bit of what follows; to part a block rounds differently.
  virtual int64_t whole_blocks(std::span<const int32_t> ids) const = 0;

  virtual int64_t n_tokens() const = 0;
  virtual Stats stats() const = 0;
  virtual void set_timing(bool on) = 0;  // per-stage times; costs a clock read per stage
};

}  // namespace flashmoe
