// Stage 2: ids -> x [n, d_model].
#pragma once

#include "model/step.h"

namespace flashmoe {

// x[i] = row tokens[i] of the embedding [vocab_size, d_model].
void embed(Step& step, const MatrixView& embedding);

}  // namespace flashmoe
