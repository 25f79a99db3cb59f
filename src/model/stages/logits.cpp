#include "model/stages/logits.h"

#include "base/check.h"
#include "model/matmul.h"

namespace flashmoe {

std::span<const float> logits(Step& step, const MatrixView& lm_head, int64_t first_row, int64_t n_rows) {
  CHECK(n_rows <= kLogitRows);
  step.profile.kind = LayerKind::model;
  const Timed timed(step.profile, Stage::logits);
  const int64_t vocab_size = step.config.vocab_size;
  const MatmulTask task[] = {{lm_head, step.ws.h.rows(first_row, n_rows), step.ws.logits.data(), vocab_size}};
  matmul(step, task);
  return step.ws.logits.first(static_cast<size_t>(n_rows * vocab_size));
}

}  // namespace flashmoe
