// What a checkpoint holds, told from its headers.
#pragma once

#include "experts/source.h"
#include "flashmoe/engine.h"
#include "model/binder.h"
#include "model/family.h"

namespace flashmoe {

// A checkpoint whose tensors are bound to a family; no weights are loaded.
struct BoundModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Family> family;
  ExpertTable experts;
  std::unique_ptr<Binder> binder;
};

// Throws Error like Checkpoint::open and make_family, and lists every tensor that is missing or does not fit.
BoundModel bind_model(const std::string& path);

// All but has_tokenizer and has_chat_template.
ModelReport report_on(const BoundModel& model);

}  // namespace flashmoe
