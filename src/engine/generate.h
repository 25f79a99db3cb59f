// Page 1: tokens in, text out.
#pragma once

#include <functional>
#include <string_view>

#include "flashmoe/session.h"
#include "model/forward.h"
#include "text/tokenizer.h"

namespace flashmoe {

// Feeds `ids` to the sequence in chunks of at most `chunk` rows. Chunks end with the delta rule's blocks, so the
// result does not depend on their size. Logits are wanted after the last `n_wanted` of them. `after_chunk` gets the
// rows done so far.
void prefill(Forward& forward, Sequence& sequence, std::span<const int32_t> ids, int64_t n_wanted, int64_t chunk,
             const std::function<void(int64_t)>& after_chunk);

// Samples from `logits` [vocab_size], feeds the token, and so on until something ends it. The last token of the result
// is not fed when the answer was cut off by max_tokens, a stop text or on_text. Throws Error{io}; an interrupted step
// ends the answer, and leaves the sequence half-way.
Generation generate(Forward& forward, Sequence& sequence, const Tokenizer& tokenizer, std::span<const float> logits,
                    std::span<const int32_t> prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text, const std::function<void()>& on_token);

// Feeds the likeliest token `n` times, end marks and all. `logits` [vocab_size]: those before, then those after.
std::vector<int32_t> decode(Forward& forward, Sequence& sequence, std::span<const float>& logits, int64_t n,
                            const std::function<void(int64_t n_sampled)>& on_token);

}  // namespace flashmoe
