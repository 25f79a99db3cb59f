// How fast a model will run within a memory plan, before it is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flashmoe/memory_plan.h"
#include "flashmoe/roofs.h"

namespace flashmoe {

// What the machine was measured to do with this model's matrices and files, in seconds.
struct Speeds {
  Roofs roofs;
  double trunk_s = 0;           // decoding a token, all but the routed experts
  double expert_s = 0;          // computing one picked expert for one token
  std::vector<double> burst_s;  // [n_experts_used + 1] reading so many experts of a layer from an idle disk
  double prefill_trunk_s = 0;   // a chunk of prefill, all but the routed experts
  double prefill_expert_s = 0;  // one expert with its share of the chunk's rows
};

struct Forecast {
  MemoryPlan plan;
  int64_t context_tokens = 0;
  int64_t prefill_chunk = 0;  // rows of a prefill step
  Speeds speeds;
  double cache_share = 1;             // of all experts that the cache holds
  double hit_rate = 1;                // warm, of decode
  std::string hit_rate_source;        // where that comes from
  double bytes_missed_per_token = 0;  // warm, of decode
  double compute_s = 0;               // of a decoded token, warm
  double disk_wait_s = 0;             // of a decoded token, warm: reads that nothing hides
  double decode_warm = 0;             // tokens a second
  double decode_cold = 0;             // with an empty cache: every pick is read
  double prefill = 0;                 // of a prompt of one chunk or more, warm
};

}  // namespace flashmoe
