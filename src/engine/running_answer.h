// One request from submit to its last event. Belongs to the engine's thread; only the channel is shared.
#pragma once

#include "base/clock.h"
#include "engine/answer_channel.h"
#include "engine/prompt.h"
#include "model/sequence.h"
#include "sampling/grammar.h"
#include "sampling/sampler.h"

namespace flashmoe {

class RunningAnswer {
 public:
  RunningAnswer(const Request& request, Prompt prompt, std::shared_ptr<const Grammar> grammar, const EngineParts& parts,
                std::shared_ptr<AnswerChannel> channel);

  // Leaves the queue; what the sequence holds already is the beginning of the prompt.
  void begin(std::unique_ptr<Sequence> sequence);
  void drop_sequence() { sequence_.reset(); }  // its memory is free for others
  Sequence& sequence() { return *sequence_; }
  // Goes on in another sequence, which holds a beginning of the prompt: what is missing is read, and what was sampled
  // is fed, again.
  void begin_again(std::unique_ptr<Sequence> sequence);
  int n_begun_again() const { return n_begun_again_; }
  // Up to this many tokens it is to be alone in its steps: one of those that it shared failed.
  int64_t alone_until() const { return alone_until_; }
  void set_alone_until(int64_t n_tokens) { alone_until_ = n_tokens; }

  const Prompt& prompt() const { return prompt_; }
  bool reading() const { return sequence_->n_tokens() < static_cast<int64_t>(prompt_.ids.size()); }
  std::span<const int32_t> unread() const {
    return std::span(prompt_.ids).subspan(static_cast<size_t>(sequence_->n_tokens()));
  }
  // `rows` of the prompt are being computed, of which `share` is done.
  void tell_reading(int64_t rows, double share);
  void tell_waiting(size_t n_before);

  // Samples from the logits [vocab_size] behind the last token, which it may overwrite. False when the answer is over,
  // which is to be told.
  bool take(std::span<float> logits);
  void tell_end();
  // The sampled token that is to be fed next, and whether there is one.
  int32_t unfed_id() const { return ids_[static_cast<size_t>(sequence_->n_tokens() - usage_.prompt_tokens)]; }
  bool has_unfed() const { return sequence_->n_tokens() < usage_.prompt_tokens + usage_.answer_tokens; }
  void fail(const std::exception_ptr& error) { channel_->fail(error); }
  bool cancelled() const { return channel_->cancelled(); }
  const Usage& usage() const { return usage_; }
  bool called_tools() const { return !calls_.empty(); }
  // As a message of the conversation, calls' arguments as objects.
  nlohmann::ordered_json message(bool with_reasoning) const;
  nlohmann::ordered_json take_chat() { return std::move(prompt_.chat); }
  // Whether another turn can follow.
  bool may_go_on() const { return reason_ != StopReason::interrupted && reason_ != StopReason::context_full; }

 private:
  struct Call {
    std::string id, name, arguments;
  };
  std::string spoken_text() const;
  int32_t next_id(std::span<float> logits);
  void note_logprobs(std::span<const float> logits);
  void close_thinking();
  void write_end_of_thinking();
  int32_t take_forced();
  void hand_out(const std::vector<AnswerPiece>& pieces);
  bool over(StopReason reason);
  void first_token();

  Request request_;
  Prompt prompt_;
  std::optional<GrammarState> grammar_;
  const EngineParts& parts_;
  std::shared_ptr<AnswerChannel> channel_;
  std::unique_ptr<Sequence> sequence_;
  std::optional<Sampler> sampler_;
  AnswerReader reader_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> forced_;  // to come before anything is sampled, last first
  std::vector<SampledToken> unsent_;
  SampledToken sampled_;
  bool closed_thinking_ = false;
  int n_begun_again_ = 0;
  int64_t alone_until_ = 0;
  std::string thinking_, content_;
  std::vector<Call> calls_;
  StopReason reason_ = StopReason::interrupted;
  AnswerEvent end_;
  Usage usage_;
  uint64_t submitted_ns_ = now_ns(), begun_ns_ = 0, first_token_ns_ = 0, told_ns_ = 0;
};

}  // namespace flashmoe
