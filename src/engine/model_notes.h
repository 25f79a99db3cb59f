// What is worth telling of a model before it runs.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "flashmoe/engine.h"
#include "text/chat_template.h"

namespace flashmoe {

// One line each: tensors that nothing uses, a chat template (null: none) that does not parse, holes in files, more
// threads than CPUs (0: as many as there are).
std::vector<std::string> notes_on(const ModelReport& report, const Checkpoint& checkpoint,
                                  const ChatTemplate* chat_template, int n_threads);

}  // namespace flashmoe
