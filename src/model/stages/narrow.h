// In the last layer, once the sequences know all rows of a batch: those that logits are wanted after go on alone.
#pragma once

#include "model/step.h"

namespace flashmoe {

// The batch becomes its wanted rows, maybe none, and ws.x, h, rope_cos and rope_sin are theirs. Does nothing when all
// are wanted.
void narrow(Step& step);

}  // namespace flashmoe
