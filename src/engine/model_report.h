// What a checkpoint holds, told from its headers.
#pragma once

#include "engine/bound_model.h"
#include "flashmoe/engine.h"

namespace flashmoe {

// All but has_tokenizer and has_chat_template.
ModelReport report_on(const BoundModel& model);

}  // namespace flashmoe
