// Progress of loading, trunk and resident experts together.
#pragma once

#include <algorithm>
#include <functional>

#include "base/clock.h"
#include "base/keep_going.h"
#include "flashmoe/options.h"

namespace flashmoe {

class LoadProgress {
 public:
  LoadProgress(const EngineOptions& options, uint64_t total_bytes) : options_(options), total_bytes_(total_bytes) {}
  std::function<void(uint64_t)> part() {
    return [this, before = done_bytes_](uint64_t bytes) {
      done_bytes_ = std::min(before + bytes, total_bytes_);
      if (options_.on_progress)
        options_.on_progress({"loading", Progress::Unit::bytes, done_bytes_, total_bytes_, seconds_since(start_ns_)});
      stop_if_asked(options_.keep_going, "loading");
    };
  }

 private:
  const EngineOptions& options_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  uint64_t start_ns_ = now_ns();
};

}  // namespace flashmoe
