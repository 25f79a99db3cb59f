// Stage 8, last part: x += sum over picks of weight * expert + shared weight * shared expert, if there is one.
#pragma once

#include "model/step.h"

namespace flashmoe {

// In pick order, whatever order the experts arrived in.
void combine(Step& step);

// The same to `x` [n, d_model], of the shared expert and those distinct[i] alone whose i are in `computed`.
void combine_computed(const Step& step, std::span<const int32_t> computed, float* x);

}  // namespace flashmoe
