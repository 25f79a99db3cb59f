// What a checkpoint holds, told from its headers.
#pragma once

#include "engine/bound_model.h"
#include "flashmoe/engine.h"

namespace flashmoe {

// All but has_tokenizer and has_chat_template.
ModelReport report_on(const BoundModel& model);

// Bytes of memory that decoding a token at `position` touches: trunk, picked experts, keys and values, and the
// delta-net state, which is read and written.
uint64_t decode_bytes_per_token(const ModelReport& model, const MemoryPlan& plan, double position);

}  // namespace flashmoe
