// Stage 6 ahead of its time: what the next layer will probably pick, so that an idle disk can begin with it.
#pragma once

#include "model/step.h"

namespace flashmoe {

// How the next layer routes.
struct NextRouter {
  int layer = 0;
  std::span<const float> norm;
  const MatrixView& router;
};

// Tells the expert source, if it listens: for up to kGuessedRows rows, the next router's picks of the state as it is
// now, likeliest first; for more that pick nearly every expert of this layer (n_distinct), every expert.
void guess_picks(Step& step, const NextRouter& next, int n_distinct);

}  // namespace flashmoe
