// Matmuls over the thread pool: rows of the weights are shared out, never the sum inside a row.
#pragma once

#include <span>

#include "model/step.h"

namespace flashmoe {

// Runs all tasks as one parallel loop, the gated ones first. Allocates nothing.
void matmul(Step& step, std::span<const MatmulTask> tasks, std::span<const GatedTask> gated = {});

// Makes the int8 form of rows [first, first + n) from the f32 rows; does nothing in exact mode.
void quantise(Step& step, ActivationBuffer& x, int64_t first, int64_t n);

// y[i] += x[i] over n rows of d, in parallel.
void add_rows(Step& step, const float* x, int64_t n, int64_t d, float* y);

// Rows per piece so that a piece of rows of `row_cost` multiply-adds (or like work) is worth handing to a thread.
int64_t grain_for(int64_t row_cost);

}  // namespace flashmoe
