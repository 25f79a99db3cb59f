#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "engine/trace_pass.h"
#include "engine/trace_settings.h"
#include "experts/trace_replay.h"

namespace flashmoe {
namespace {

// One cache that the trace goes through; settings that differ in speeds alone share it.
struct Replay {
  CachePolicy policy = CachePolicy::two_timescale;
  std::vector<SlotClass> classes;
  std::unique_ptr<ReplayCache> cache;
  GivenBack given_back = GivenBack::as_recorded;
  CacheStats all, decode;
  ReplayMisses missed;                                        // of the layer last fed
  std::map<std::pair<size_t, size_t>, uint64_t> layers_with;  // misses waited for, and guessed: layers of decode steps

  bool is(CachePolicy other, const std::vector<SlotClass>& slots, GivenBack without) const {
    return policy == other && given_back == without && slots.size() == classes.size() &&
           std::equal(slots.begin(), slots.end(), classes.begin(),
                      [](const SlotClass& a, const SlotClass& b) { return a.n_slots == b.n_slots; });
  }

  void feed(const TraceStep& step) {
    for (size_t l = 0; l < step.layers.size(); ++l) {
      cache->pick(step, l, missed);
      for (CacheStats* stats : {&all, step.decode ? &decode : nullptr}) {
        if (stats != nullptr) missed.count(step.layers[l].distinct.size(), *stats);
      }
      if (!step.decode) continue;
      ++layers_with[{missed.absent.size(), missed.guessed.size()}];
    }
  }
};

// What a run would do with more memory, it would do beside what it did; a size of its own is all there is.
GivenBack given_back_in(const WhatIf& setting) {
  return setting.cache_bytes > 0 || setting.cache_share > 0 ? GivenBack::none : GivenBack::as_recorded;
}

Replay& replay_for(const WhatIf& setting, std::vector<SlotClass> classes,
                   std::vector<std::unique_ptr<Replay>>& replays) {
  for (const auto& replay : replays) {
    if (replay->is(setting.policy, classes, given_back_in(setting))) return *replay;
  }
  replays.push_back(std::make_unique<Replay>());
  replays.back()->policy = setting.policy;
  replays.back()->given_back = given_back_in(setting);
  replays.back()->classes = std::move(classes);
  return *replays.back();
}

WhatIfResult result_of(const WhatIf& setting, const Replay& replay, double bytes, const TraceHeader& header,
                       const TraceTiming& timing) {
  WhatIfResult r;
  const double out_of_use = replay.given_back == GivenBack::as_recorded ? timing.out_of_use : 0;
  r.cache_share = share_of(header, replay.classes, out_of_use);
  if (bytes > 0) {
    r.cache_bytes = static_cast<uint64_t>(bytes * r.cache_share * header.n_layers * header.n_experts);
  }
  r.disk_gb_per_s = setting.disk_gb_per_s > 0 ? setting.disk_gb_per_s : timing.disk_gb_per_s;
  r.all = replay.all;
  r.decode = replay.decode;
  const auto n_decoded = static_cast<double>(timing.n_decoded);
  if (n_decoded > 0) r.bytes_missed_per_token = static_cast<double>(replay.decode.misses) * bytes / n_decoded;
  const bool reads = replay.decode.misses > 0;
  if (!timing.known() || n_decoded == 0 || (reads && (r.disk_gb_per_s == 0 || bytes == 0))) return r;
  // Experts are limited by the bytes they read from memory, as is the rest.
  const double smaller = timing.expert_bytes > 0 ? bytes / timing.expert_bytes : 1;
  double seconds = (timing.compute_s - timing.experts_s + timing.experts_s * smaller) / setting.ram_speed;
  for (const auto& [missed, n_layers] : replay.layers_with) {
    seconds += static_cast<double>(n_layers) * timing.wait(missed.first, missed.second, r.disk_gb_per_s, bytes);
  }
  r.tok_per_s = n_decoded / seconds;
  return r;
}

}  // namespace

std::vector<WhatIfResult> simulate_trace(const TraceQuestion& question, std::span<const WhatIf> settings) {
  const bool needs_future =
      std::any_of(settings.begin(), settings.end(), [](const WhatIf& s) { return s.policy == CachePolicy::belady; });
  TracePasses passes(question, "simulating", needs_future ? 3 : 2);
  const TraceHeader& header = passes.header();
  const TraceTiming timing = learn_timing(question, passes);
  std::vector<std::unique_ptr<Replay>> replays;
  std::vector<Replay*> replay_of;
  std::vector<double> bytes_of;
  for (const WhatIf& setting : settings) {
    bytes_of.push_back(expert_bytes_of(header, setting, timing.expert_bytes));
    replay_of.push_back(&replay_for(setting, slots_of(header, setting, bytes_of.back()), replays));
  }
  FutureUses future(header.n_layers, header.n_experts);
  if (needs_future) {
    passes.pass([&](const TraceStep& step, const TraceStep*) {
      for (size_t l = 0; l < step.layers.size(); ++l) future.note(static_cast<int>(l), step.layers[l]);
    });
  }
  for (const auto& replay : replays) {
    replay->cache = make_replay_cache(replay->policy, header, replay->classes, replay->given_back, &future);
  }
  const auto n_replays = static_cast<int64_t>(replays.size());
  ThreadPool pool(static_cast<int>(std::clamp<int64_t>(n_replays, 1, usable_cpus())));
  passes.pass([&](const TraceStep& step, const TraceStep*) {
    pool.parallel_for(n_replays, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) replays[static_cast<size_t>(i)]->feed(step);
    });
  });
  std::vector<WhatIfResult> results;
  for (size_t i = 0; i < settings.size(); ++i) {
    results.push_back(result_of(settings[i], *replay_of[i], bytes_of[i], header, timing));
  }
  return results;
}

}  // namespace flashmoe
