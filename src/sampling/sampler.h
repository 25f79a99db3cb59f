// Logits -> the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "flashmoe/options.h"

namespace flashmoe {

// Penalties, then temperature, top-k, top-p, min-p, then a draw. Temperature 0 takes the largest logit (the lowest id
// among equals) after penalties; with no penalties set the logits are compared untouched. Allocates only in the
// constructor and in note_prompt.
class Sampler {
 public:
  // Throws Error{usage} when an option is out of range, naming it.
  Sampler(const SamplingOptions& options, int64_t vocab_size);

  void note_prompt(std::span<const int32_t> ids);  // the repetition penalty counts the prompt too
  int32_t sample(std::span<const float> logits);   // logits [vocab_size]; counts the token it returns

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  int32_t draw(std::span<Candidate> candidates);
  float penalised(float logit, int32_t id) const;

  SamplingOptions options_;
  uint64_t state_;                      // of the generator
  std::vector<uint8_t> in_prompt_;      // [vocab_size]
  std::vector<uint32_t> generated_;     // [vocab_size] times each token was sampled
  std::vector<Candidate> candidates_;   // [vocab_size]
};

}  // namespace flashmoe
