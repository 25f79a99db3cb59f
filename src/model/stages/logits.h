// Stage 9: the final hidden state -> logits.
#pragma once

#include "model/step.h"

namespace flashmoe {

// Logits [n_rows, vocab_size] of rows [first_row, first_row + n_rows) of h, n_rows <= kLogitRows. Valid until the next
// stage runs.
std::span<const float> logits(Step& step, const MatrixView& lm_head, int64_t first_row, int64_t n_rows);

}  // namespace flashmoe
