// The tensors of a tiny model, before they take the names and the layout of a container.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/tiny_model.h"

namespace flashmoe {

enum class TinyRole { embedding, matrix, router, shared_gate, conv, norm, plain_norm, decay, dt_bias };

// Which axis runs over value heads: grouped by key head in Hugging Face files, tiled over key heads in GGUF.
enum class ValueHeads { none, rows, rows_after_keys, columns };

// Rows of a qwen3_5_moe projection [rows, d_model] that a packed one holds beside each other, key head by key head.
struct TinyPiece {
  std::string hf_name;
  int64_t rows = 0, first_row = 0, rows_per_head = 0;
};

struct TinyTensor {
  std::string hf_name;  // without model. or model.language_model.; experts stacked, gate and up apart
  std::string gguf_name;
  std::vector<int64_t> shape;  // as in Hugging Face files
  TinyRole role = TinyRole::matrix;
  ValueHeads value_heads = ValueHeads::none;
  std::vector<TinyPiece> pieces = {};  // of a packed projection, in their order within a key head

  int64_t n_values() const;
};

std::vector<TinyTensor> tiny_tensors(const TinyModelOptions& options);

// As Hugging Face files hold them: norms zero-centred, decay as A_log, value heads grouped.
std::vector<float> tiny_values(const TinyModelOptions& options, const TinyTensor& tensor);

// As GGUF files hold them: norms as factors, decay as -exp(A_log), value heads tiled.
std::vector<float> tiny_gguf_values(const TinyModelOptions& options, const TinyTensor& tensor);

// How far the values of a matrix spread.
float tiny_sigma(const TinyTensor& tensor);

bool is_full_attention(const TinyModelOptions& options, int layer);

}  // namespace flashmoe
