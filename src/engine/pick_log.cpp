#include "engine/pick_log.h"

#include "base/keep_going.h"
#include "engine/trace_settings.h"
#include "experts/trace_encoding.h"
#include "experts/trace_replay.h"

namespace flashmoe {

PickLog::PickLog(const ExpertTable& experts, uint32_t alignment) {
  header_.n_layers = experts.n_layers;
  header_.n_experts = experts.n_experts;
  header_.n_used = experts.n_used;
  header_.classes = slot_classes(experts, alignment);
  step_.layers.resize(static_cast<size_t>(experts.n_layers));
}

void PickLog::began(const Batch& batch) {
  step_.n_rows = static_cast<int>(batch.n());
  step_.decode = batch.decodes();
}

void PickLog::routed(int layer, std::span<const int32_t> experts, std::span<const float>) {
  step_.layers[static_cast<size_t>(layer)].experts.assign(experts.begin(), experts.end());
}

// A step in the trace's form has the picks of all rows in all layers. Rows that ended before the last layer's experts
// count there as if they had picked what others did, in equal shares: those before them, if none went on.
void PickLog::fill_up() {
  auto& picks = step_.layers.back().experts;
  const size_t n = static_cast<size_t>(step_.n_rows) * static_cast<size_t>(header_.n_used);
  const size_t n_known = std::min(picks.size(), n);
  picks.resize(n);
  for (size_t i = n_known; i < n; ++i) picks[i] = n_known == 0 ? 0 : picks[i % n_known];
}

void PickLog::hidden(int index, std::span<const float>) {
  if (full_ || index < header_.n_layers) return;
  fill_up();
  block_.clear();
  encode_step(header_, step_, 0, block_);
  n_bytes_ += sizeof(std::string) + block_.size();
  full_ = n_bytes_ > kMostBytes;
  if (!full_) steps_.push_back(block_);
}

std::vector<BenchPoint> PickLog::hit_rates(std::span<const double> shares,
                                           const std::function<bool()>& keep_going) const {
  std::vector<BenchPoint> points;
  for (const double share : shares) {
    if (share < least_share_of(header_)) continue;
    const CacheStats decode = replay(share, keep_going);
    if (decode.hits + decode.misses > 0) points.push_back({.share = share, .hit_rate = decode.hit_rate()});
  }
  return points;
}

CacheStats PickLog::replay(double share, const std::function<bool()>& keep_going) const {
  TraceHeader filled = header_;
  filled.has_unasked = true;  // the cache takes whatever finds a place before the first step
  const auto classes = slots_of(header_, {.cache_share = share}, static_cast<double>(header_.expert_bytes()));
  const auto cache = make_replay_cache(CachePolicy::two_timescale, filled, classes, GivenBack::none, nullptr);
  std::vector<int32_t> count(static_cast<size_t>(header_.n_experts));
  CacheStats decode;
  TraceStep step;
  ReplayMisses missed;
  for (size_t i = 0; i < steps_.size(); ++i) {
    stop_if_asked(keep_going, "replaying picks");
    decode_step(header_, steps_[i], "picks", 0, count, step);
    if (i == 0) step.layers.front().n_warmed_up = static_cast<uint64_t>(header_.n_layers) * count.size();
    for (size_t layer = 0; layer < step.layers.size(); ++layer) {
      cache->pick(step, layer, missed);
      if (i >= n_warming_ && step.decode) missed.count(step.layers[layer].distinct.size(), decode);
    }
  }
  return decode;
}

}  // namespace flashmoe
