// A checkpoint whose tensors are bound to a family; no weights are loaded.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "experts/source.h"
#include "model/binder.h"
#include "model/family.h"

namespace flashmoe {

struct BoundModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Family> family;
  ExpertTable experts;
  std::unique_ptr<Binder> binder;
};

// Throws Error like Checkpoint::open and make_family, and lists every tensor that is missing or does not fit.
BoundModel bind_model(const std::string& path);

}  // namespace flashmoe
