#include "engine/bound_model.h"

namespace flashmoe {

BoundModel bind_model(const std::string& path) {
  BoundModel model;
  model.checkpoint = Checkpoint::open(path);
  model.family = make_family(*model.checkpoint);
  model.binder = std::make_unique<Binder>(*model.checkpoint);
  model.family->bind(*model.binder, model.experts);
  model.binder->throw_if_incomplete();
  return model;
}

}  // namespace flashmoe
