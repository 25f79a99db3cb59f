#include "support/tiny_model.h"

#include "base/check.h"
#include "support/tiny_containers.h"

namespace flashmoe {

TinyModelOptions& TinyModelOptions::with_k_quant_dims() {
  d_model = 256;
  n_heads = 4;
  d_head = 64;
  d_rotary = 16;
  n_key_heads = 2;
  n_value_heads = 4;
  d_key = d_value = 64;
  d_ff = d_ff_shared = 256;
  return *this;
}

std::string write_tiny_model(const std::string& folder, const TinyModelOptions& options) {
  CHECK(options.n_value_heads % options.n_key_heads == 0);
  CHECK(options.n_heads % options.n_kv_heads == 0);
  CHECK(options.n_files >= 1);
  return options.layout == TinyLayout::gguf ? write_tiny_gguf(folder, options)
                                            : write_tiny_hugging_face(folder, options);
}

}  // namespace flashmoe
