// Stage 2: ids -> x [n, d_model].
#pragma once

#include "model/file_rows.h"
#include "model/step.h"

namespace flashmoe {

// x[i] = row tokens[i] of the embedding [vocab_size, d_model]. `in_file`: what reads its rows; null: memory has them.
// Throws Error{io}.
void embed(Step& step, const MatrixView& embedding, FileRows* in_file);

}  // namespace flashmoe
