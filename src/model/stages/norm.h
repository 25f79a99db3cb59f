// Stages 3 and 5, and the final norm: x -> h.
#pragma once

#include "model/step.h"

namespace flashmoe {

// h = rmsnorm(x, weight [d_model]) in f32 and, unless exact, int8.
void norm(Step& step, Stage stage, std::span<const float> weight);

}  // namespace flashmoe
