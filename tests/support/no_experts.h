#pragma once

#include "experts/source.h"

namespace flashmoe {

// An expert source for steps that use none.
class NoExperts : public ExpertSource {
 public:
  Lease acquire(int, const Picks&) override { return {this, 0}; }
  int max_picks() const override { return 0; }
  CacheStats cache_stats() const override { return {}; }
  IoStats io_stats() const override { return {}; }

 private:
  std::span<const int32_t> next_arrived(int) override { return {}; }
  const ExpertWeights& wait_for(int, int) override { return none_; }
  bool is_complete(int) const override { return true; }
  void release(int) noexcept override {}
  ExpertWeights none_;
};

}  // namespace flashmoe
