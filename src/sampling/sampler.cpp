#include "sampling/sampler.h"

#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void require(bool holds, const char* option, const char* range, double value) {
  if (!holds) fail(Fault::usage, "{} must be {}, not {}", option, range, value);
}

void validate(const SamplingOptions& o) {
  const auto finite = [](float x) { return std::isfinite(x); };
  require(finite(o.temperature) && o.temperature >= 0, "temperature", "a number from 0 up", double{o.temperature});
  require(o.top_k >= 0, "top_k", "0 (off) or a positive number", o.top_k);
  require(o.top_p > 0 && o.top_p <= 1, "top_p", "above 0 and at most 1", double{o.top_p});
  require(o.min_p >= 0 && o.min_p <= 1, "min_p", "from 0 to 1", double{o.min_p});
  require(finite(o.repetition_penalty) && o.repetition_penalty > 0, "repetition_penalty", "a number above 0",
          double{o.repetition_penalty});
  require(finite(o.presence_penalty), "presence_penalty", "a finite number", double{o.presence_penalty});
  require(finite(o.frequency_penalty), "frequency_penalty", "a finite number", double{o.frequency_penalty});
}

[[noreturn]] void nothing_to_choose() {
  fail(Fault::input,
       "every logit is NaN or -inf: the model's weights or its computation are broken; no token to choose");
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, int64_t vocab_size) : options_(options), random_(options.seed) {
  validate(options);
  CHECK(vocab_size > 0 && vocab_size <= std::numeric_limits<int32_t>::max());
  const auto n = static_cast<size_t>(vocab_size);
  in_prompt_.resize(n);
  generated_.resize(n);
  if (options.temperature > 0) candidates_.resize(n);
}

void Sampler::note_prompt(std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= in_prompt_.size()) {
      fail(Fault::input, "prompt token {} is out of range: ids are 0 to {}", id, in_prompt_.size() - 1);
    }
    in_prompt_[static_cast<size_t>(id)] = 1;
  }
}

int32_t Sampler::sample(std::span<const float> logits) {
  CHECK(logits.size() == in_prompt_.size());
  const int32_t id = options_.temperature > 0 ? draw(logits) : largest(logits);
  ++generated_[static_cast<size_t>(id)];
  return id;
}

bool Sampler::has_penalties() const {
  return options_.repetition_penalty != 1 || options_.presence_penalty != 0 || options_.frequency_penalty != 0;
}

float Sampler::penalised(float logit, int32_t id) const {
  const auto at = static_cast<size_t>(id);
  const uint32_t times = generated_[at];
  if (times == 0 && in_prompt_[at] == 0) return logit;
  logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  if (times > 0) logit -= options_.presence_penalty + options_.frequency_penalty * static_cast<float>(times);
  return logit;
}

int32_t Sampler::largest(std::span<const float> logits) const {
  const bool penalties = has_penalties();
  float best = -kInfinity;
  int32_t best_id = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const float logit = penalties ? penalised(logits[i], id) : logits[i];
    if (logit > best) {
      best = logit;
      best_id = id;
    }
  }
  if (best_id < 0) nothing_to_choose();
  return best_id;
}

// The candidates with the largest logit subtracted and the temperature applied, so that exp() is their weight.
std::span<Candidate> Sampler::collect(std::span<const float> logits) {
  const bool penalties = has_penalties();
  size_t n = 0;
  float max = -kInfinity;
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const float logit = penalties ? penalised(logits[i], id) : logits[i];
    if (!(logit > -kInfinity)) continue;
    candidates_[n++] = {logit, id};
    max = logit > max ? logit : max;
  }
  if (n == 0) nothing_to_choose();
  auto candidates = std::span(candidates_).first(n);
  if (options_.top_k > 0) candidates = keep_top_k(candidates, static_cast<size_t>(options_.top_k));
  n = 0;
  for (const Candidate& candidate : candidates) {
    if (max < kInfinity) {
      candidates[n++] = {(candidate.logit - max) / options_.temperature, candidate.id};
    } else if (candidate.logit == kInfinity) {
      candidates[n++] = {0, candidate.id};
    }
  }
  return candidates.first(n);
}

int32_t Sampler::draw(std::span<const float> logits) {
  auto candidates = collect(logits);
  if (options_.top_p < 1) candidates = keep_top_p(candidates, double{options_.top_p});
  if (options_.min_p > 0) candidates = keep_min_p(candidates, double{options_.min_p});
  return pick(candidates, random_.uniform());
}

}  // namespace flashmoe
