// Stages 7 and 8: the picked experts are fetched and computed in order of arrival, each pick into its own row.
#pragma once

#include "model/stages/guess.h"
#include "model/stages/shared_expert.h"

namespace flashmoe {

// Starts reading what the first wave of picked experts needs. n_distinct: as route() returned.
Lease fetch(Step& step, int layer, int n_distinct);

// ws.moe.out by slot. Where more experts were picked than the source holds at once, goes through them
// in waves, each expert read once, the reads of a wave under way while the one before it is computed. The shared
// expert, if there is one (else null), is computed while the first reads are under way, or together with the others
// where nothing has to be read. `next`: of the next layer, if there is one, to guess at once there is nothing else to
// read.
void experts(Step& step, int layer, int n_distinct, Lease first_wave, const SharedExpertWeights* shared,
             const NextRouter* next);

}  // namespace flashmoe
