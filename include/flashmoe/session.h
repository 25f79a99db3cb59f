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

// A step that fails or is interrupted half-way loses the sequence, and so does an exception that ends an answer after
// its first token: from then on only n_tokens and stats may be called, everything else throws Error{usage}. What
// refuses a call before that (usage; input, of a prompt) leaves it as it was. One thread at a time: the caller's
// computes, and needs 1 MiB of stack.
class Session {
 public:
  virtual ~Session() = default;

  // Appends the prompt, in chunks. Throws Error{input} when empty, too long for the context, or ids are out of range;
  // Error{io} when a read fails; Error{interrupted}.
  virtual void prefill(std::span<const int32_t> ids) = 0;

  // Samples until the model stops. `on_text` gets each piece as it is final (never half a character) and returns
  // false to stop, after which the session goes on as after max_tokens; where keep_going stops a step instead, what was
  // generated is returned, but the sequence is lost. Throws Error: usage without a prompt, after the model has ended
  // its turn, or for sampling options out of range; unsupported without a tokenizer; input when no logit is a number;
  // io; interrupted while what is left of the prompt is read.
  virtual Generation generate(const GenerateOptions& options,
                              const std::function<bool(std::string_view)>& on_text = {}) = 0;

  // Appends the n likeliest tokens one after the other, whatever they are, and makes no text of them: for measuring.
  // Works without a tokenizer. Each token counts as decoded. Throws Error: usage without a prefill or logits just
  // before, or another decode; input when n tokens do not fit the context; io; interrupted.
  virtual std::vector<int32_t> decode(int64_t n) = 0;

  // Appends the ids and hands out the logits [vocab_size] that follow each of them, in order. Throws like prefill.
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
