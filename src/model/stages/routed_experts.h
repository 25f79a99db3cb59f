// Stages 7 and 8: the picked experts are fetched and computed in order of arrival, each pick into its own row.
#pragma once

#include "model/step.h"

namespace flashmoe {

// Starts reading what the first wave of picked experts needs. n_distinct: as route() returned.
Lease fetch(Step& step, int layer, int n_distinct);

// ws.moe.out [n * k, d_model] by slot. Where more experts were picked than the source holds at once, goes through them
// in waves, each expert read once.
void routed_experts(Step& step, int layer, int n_distinct, Lease first_wave);

}  // namespace flashmoe
