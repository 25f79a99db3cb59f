// Stage 6: h -> picks.
#pragma once

#include "model/step.h"

namespace flashmoe {

// For each row the k experts with the largest softmax(router h), weights renormalised to sum 1 unless the model keeps
// the softmax's (ws.moe.experts, weights), and the same picks grouped by expert (ws.moe.distinct, group_begin, slot_of,
// row_of). The router always reads f32 activations. Returns how many distinct experts were picked.
int route(Step& step, int layer, const MatrixView& router);

// The second half of that, for picks that came from elsewhere: groups ws.moe.experts [n, k] by expert.
int group_by_expert(Step& step);

}  // namespace flashmoe
