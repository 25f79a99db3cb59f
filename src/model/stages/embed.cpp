#include "model/stages/embed.h"

namespace flashmoe {

void embed(Step& step, const MatrixView& embedding, FileRows* in_file) {
  const Timed timed(step.profile, Stage::embed);
  if (in_file != nullptr) return in_file->read(step.batch.tokens, step.ws.x.data());
  const int64_t d_model = step.config.d_model;
  for (int64_t i = 0; i < step.n(); ++i) {
    embedding.decode(step.batch.tokens[static_cast<size_t>(i)], 0, d_model, step.ws.x.data() + i * d_model);
  }
}

}  // namespace flashmoe
