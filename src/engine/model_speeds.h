// How long a model's own matrices take on this machine, without its weights in memory.
#pragma once

#include "engine/bound_model.h"
#include "engine/matmul_probe.h"
#include "flashmoe/forecast.h"

namespace flashmoe {

// Fills in trunk_s, expert_s and, for a step of `prefill_rows`, prefill_trunk_s and prefill_expert_s. Matrices are
// timed one by one; what else a step reads and writes, the delta-net state and `kv_bytes`, goes at the speed of
// speeds.roofs.ram_gb_per_s.
void measure_model(const BoundModel& model, MatmulProbe& probe, int64_t prefill_rows, double kv_bytes, Speeds& speeds);

}  // namespace flashmoe
