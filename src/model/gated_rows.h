// The first half of an expert, on one thread: a piece of a GatedTask.
#pragma once

#include "model/step.h"

namespace flashmoe {

// Rows [begin, end) of gate and up, times all rows of activations of the task, and columns [begin, end) of the
// activation that they make: whole groups of it (kActivationGroup), or its last. Uses the calling thread's
// ws.gated_scratch.
void run_gated_rows(const Step& step, const GatedTask& task, int64_t begin, int64_t end);

}  // namespace flashmoe
