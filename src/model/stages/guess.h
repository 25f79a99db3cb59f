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

// Tells the expert source, if it listens: for up to kGuessedRows rows, the next router's picks of the state as far as
// it is known, likeliest first; for more, the experts that some row of the step is nearly sure to pick, by a sample of
// the rows, and all of them where nearly every expert of this layer is picked (n_distinct). `computed`: which of the
// distinct experts have given their part of the state, and with them the shared one; empty: none has.
void guess_picks(Step& step, const NextRouter& next, int n_distinct, std::span<const int32_t> computed);

}  // namespace flashmoe
