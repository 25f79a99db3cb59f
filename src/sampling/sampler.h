// Logits -> the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "flashmoe/options.h"
#include "sampling/filters.h"

namespace flashmoe {

// Penalties, then temperature, top-k, top-p, min-p, then a draw. Temperature 0 takes the largest logit (the lowest id
// among equals) after penalties; with no penalties set the logits are compared untouched. A NaN is never chosen; where
// logits are +inf, the choice is among those. Allocates only in the constructor.
class Sampler {
 public:
  // Throws Error{usage} when an option is out of range, naming it.
  Sampler(const SamplingOptions& options, int64_t vocab_size);

  // The repetition penalty counts the prompt too. Throws Error{input} for an id out of range.
  void note_prompt(std::span<const int32_t> ids);
  // logits [vocab_size]; counts the token it returns. Throws Error{input} when every logit is NaN or -inf.
  int32_t sample(std::span<const float> logits);

 private:
  bool has_penalties() const;
  float penalised(float logit, int32_t id) const;
  int32_t largest(std::span<const float> logits) const;
  std::span<Candidate> collect(std::span<const float> logits);
  int32_t draw(std::span<const float> logits);

  SamplingOptions options_;
  SplitMix random_;
  std::vector<uint8_t> in_prompt_;     // [vocab_size]
  std::vector<uint32_t> generated_;    // [vocab_size] times each token was sampled
  std::vector<Candidate> candidates_;  // [vocab_size]; empty when greedy
};

}  // namespace flashmoe
