#include "engine/generate.h"

#include <algorithm>

#include "flashmoe/error.h"
#include "sampling/sampler.h"
#include "text/text_stream.h"

namespace flashmoe {

void prefill(Forward& forward, Sequence& sequence, std::span<const int32_t> ids, int64_t n_wanted, int64_t chunk,
             const std::function<void(int64_t)>& after_chunk) {
  const auto total = static_cast<int64_t>(ids.size());
  for (int64_t done = 0; done < total;) {
    const auto unread = ids.subspan(static_cast<size_t>(done));
    const int64_t n = forward.blocks().step_rows(unread, sequence.n_in_block(), chunk);
    const int64_t first_wanted = std::clamp<int64_t>(total - n_wanted - done, 0, n);
    forward.step(unread.first(static_cast<size_t>(n)), sequence, first_wanted);
    done += n;
    after_chunk(done);
  }
}

std::vector<int32_t> decode(Forward& forward, Sequence& sequence, std::span<const float>& logits, int64_t n,
                            const std::function<void(int64_t)>& on_token) {
  Sampler sampler({}, static_cast<int64_t>(logits.size()));
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(n));
  while (static_cast<int64_t>(ids.size()) < n) {
    ids.push_back(sampler.sample(logits));
    on_token(static_cast<int64_t>(ids.size()));
    forward.step({&ids.back(), 1}, sequence);
    logits = forward.logits(0, 1);
  }
  return ids;
}

Generation generate(Forward& forward, Sequence& sequence, const Tokenizer& tokenizer, std::span<const float> logits,
                    std::span<const int32_t> prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text, const std::function<void()>& on_token) {
  Generation result;
  Sampler sampler(options.sampling, static_cast<int64_t>(logits.size()));
  sampler.note_prompt(prompt);
  TextStream stream(tokenizer, options.stop);
  const int64_t room = sequence.context_tokens() - sequence.n_tokens();
  const int64_t most = options.max_tokens > 0 ? std::min<int64_t>(options.max_tokens, room) : room;
  result.ids.reserve(static_cast<size_t>(most));
  const auto emit = [&](std::string_view text) {
    result.text += text;
    return text.empty() || !on_text || on_text(text);
  };

  // False when the step was interrupted: what was generated so far stands.
  const auto feed = [&](int32_t id) {
    try {
      forward.step({&id, 1}, sequence);
    } catch (const Error& error) {
      if (error.fault() != Fault::interrupted) throw;
      return false;
    }
    return true;
  };

  result.reason = StopReason::context_full;
  while (room > 0) {
    const int32_t id = sampler.sample(logits);
    if (on_token) on_token();
    if (tokenizer.ends_turn(id)) {
      result.reason = StopReason::end_of_turn;
      break;
    }
    result.ids.push_back(id);
    const bool wanted = emit(stream.push(id));
    if (stream.stopped() || !wanted) {
      result.reason = wanted ? StopReason::stop_text : StopReason::interrupted;
      break;
    }
    if (static_cast<int64_t>(result.ids.size()) == most) {
      const bool full = options.max_tokens == 0 || options.max_tokens > room;
      result.reason = full ? StopReason::context_full : StopReason::max_tokens;
      break;
    }
    if (!feed(id)) {
      result.reason = StopReason::interrupted;
      break;
    }
    logits = forward.logits(0, 1);
  }
  emit(stream.finish());
  return result;
}

}  // namespace flashmoe
