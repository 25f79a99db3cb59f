// Where the time of a step goes, by stage and kind of layer.
#pragma once

#include "base/clock.h"
#include "flashmoe/stats.h"

namespace flashmoe {

struct Profile {
  bool on = false;
  LayerKind kind = LayerKind::model;  // of the layer that is being computed
  StageTimes times;
  void add(Stage stage, uint64_t ns) { times.ns[static_cast<size_t>(kind)][static_cast<size_t>(stage)] += ns; }
};

// Adds its lifetime to a stage.
class Timed {
 public:
  Timed(Profile& profile, Stage stage) : profile_(profile), stage_(stage), start_ns_(profile.on ? now_ns() : 0) {}
  ~Timed() {
    if (profile_.on) profile_.add(stage_, now_ns() - start_ns_);
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Profile& profile_;
  Stage stage_;
  uint64_t start_ns_;
};

}  // namespace flashmoe
