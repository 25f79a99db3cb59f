// A model wired by hand, below the engine: for tests that look at hidden states, force read orders or small caches.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/bound_model.h"
#include "experts/streamed.h"
#include "model/forward.h"
#include "model/trunk.h"

namespace flashmoe {

struct LoadOptions {
  std::string kernels = "scalar";
  bool exact = true;
  RowsOf embedding = RowsOf::memory;
  bool as_stored = false;  // no weights are interleaved (kernels/kernels.h)
  int n_threads = 1;
  int64_t max_rows = 128;
  uint64_t lent_bytes = 0;  // to the cache, while keys, values, states and the workspace do not take them
  int64_t context_tokens = 512;
  KvFormat kv = KvFormat::f32;
  bool streamed = false;
  uint64_t cache_bytes = 0;               // streamed: 0 is the floor
  uint64_t allotment_bytes = 4ULL << 30;  // of each kind
  ReadAheadChoice read_ahead = ReadAheadChoice::off;
  bool warm_up = false;
  std::vector<float> rates;  // see StreamedOptions
  bool direct = false;
  // Makes the experts' read queue; empty: pread with two threads.
  std::function<std::unique_ptr<ReadQueue>()> queue;
};

class LoadedModel {
 public:
  LoadedModel(const std::string& path, const LoadOptions& options);

  const ModelConfig& config() const { return bound_.family->config(); }
  Forward& forward() { return *forward_; }
  Budget& budget() { return budget_; }
  const ExpertSource& experts() const { return *experts_; }
  std::unique_ptr<Sequence> new_sequence();

  // Logits [T, V] of ids as a fresh sequence, in steps of at most `chunk` rows.
  std::vector<float> logits(std::span<const int32_t> ids, int64_t chunk);
  // Greedy continuation of ids.
  std::vector<int32_t> greedy(std::span<const int32_t> ids, size_t n);

 private:
  LoadOptions options_;
  BoundModel bound_;
  Budget budget_;
  ThreadPool pool_;
  Trunk trunk_;
  std::unique_ptr<ExpertSource> experts_;
  std::unique_ptr<Workspace> workspace_;
  std::unique_ptr<Forward> forward_;
};

// The lowest index of the largest value.
int32_t argmax(std::span<const float> values);

bool same_bits(std::span<const float> a, std::span<const float> b);

}  // namespace flashmoe
