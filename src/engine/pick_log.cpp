#include "engine/pick_log.h"

#include <algorithm>
#include <memory>

#include "engine/trace_settings.h"
#include "experts/trace_encoding.h"
#include "experts/trace_replay.h"

namespace flashmoe {
namespace {

// A cache of another size that the steps go through.
struct OtherCache {
  double share;
  std::unique_ptr<ReplayCache> cache;
  CacheStats decode = {};
};

}  // namespace

PickLog::PickLog(const ExpertTable& experts, uint32_t alignment) {
  header_.n_layers = experts.n_layers;
  header_.n_experts = experts.n_experts;
  header_.n_used = experts.n_used;
  header_.classes = slot_classes(experts, alignment);
  step_.layers.resize(static_cast<size_t>(experts.n_layers));
}

void PickLog::began(const Batch& batch) {
  step_.n_rows = static_cast<int>(batch.n());
  step_.decode = std::all_of(batch.runs.begin(), batch.runs.end(), [](const Run& run) { return run.n_rows == 1; });
}

void PickLog::routed(int layer, std::span<const int32_t> experts, std::span<const float>) {
  step_.layers[static_cast<size_t>(layer)].experts.assign(experts.begin(), experts.end());
  if (full_ || layer + 1 < header_.n_layers) return;
  block_.clear();
  encode_step(header_, step_, 0, block_);
  n_bytes_ += sizeof(std::string) + block_.size();
  full_ = n_bytes_ > kMostBytes;
  if (!full_) steps_.push_back(block_);
}

std::vector<HitRatePoint> PickLog::hit_rates(std::span<const double> shares) const {
  TraceHeader filled = header_;
  filled.has_unasked = true;  // the cache takes whatever finds a place before the first step
  std::vector<OtherCache> caches;
  for (const double share : shares) {
    if (share < least_share_of(header_)) continue;
    const auto classes = slots_of(header_, {.cache_share = share}, static_cast<double>(header_.expert_bytes()));
    caches.push_back({share, make_replay_cache(CachePolicy::two_timescale, filled, classes, nullptr)});
  }
  std::vector<int32_t> count(static_cast<size_t>(header_.n_experts));
  TraceStep step;
  ReplayMisses missed;
  for (size_t i = 0; i < steps_.size(); ++i) {
    decode_step(header_, steps_[i], "picks", 0, count, step);
    if (i == 0) step.layers.front().n_warmed_up = static_cast<uint64_t>(header_.n_layers) * count.size();
    for (OtherCache& other : caches) {
      for (size_t layer = 0; layer < step.layers.size(); ++layer) {
        other.cache->pick(step, layer, missed);
        if (i < n_warming_ || !step.decode) continue;
        other.decode.misses += missed.n();
        other.decode.hits += step.layers[layer].distinct.size() - missed.n();
      }
    }
  }
  std::vector<HitRatePoint> points;
  for (const OtherCache& other : caches) {
    const uint64_t n = other.decode.hits + other.decode.misses;
    if (n == 0) continue;
    points.push_back(
        {.share = other.share, .hit_rate = static_cast<double>(other.decode.hits) / static_cast<double>(n)});
  }
  return points;
}

}  // namespace flashmoe
