// Stage 8, last part: x += sum over picks of weight * expert + shared weight * shared expert, if there is one.
#pragma once

#include "model/step.h"

namespace flashmoe {

// In pick order, whatever order the experts arrived in.
void combine(Step& step);

}  // namespace flashmoe
