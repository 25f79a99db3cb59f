// Small random checkpoints of the families that are supported, as Hugging Face folders and as GGUF files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/format.h"

namespace flashmoe {

enum class TinyLayout {
  hf_stacked,     // mlp.experts.gate_up_proj [E, 2 ff, H]
  hf_per_expert,  // mlp.experts.N.gate_proj.weight [ff, H]
  gguf,
};

enum class TinyFamily {
  qwen3_5_moe,
  qwen3_next,  // with the same seed and dimensions the same model as qwen3_5_moe, its projections stored otherwise
  qwen3_moe,   // wants d_rotary = d_head; what it lacks is left out
};

// Quantised GGUF formats need row lengths (d_model, n_heads * d_head, n_value_heads * d_value, d_ff, d_ff_shared) that
// are multiples of the block, 256 for k-quants: with_k_quant_dims(). Matrices whose rows do not fit are kept in F32.
struct TinyModelOptions {
  TinyFamily family = TinyFamily::qwen3_5_moe;
  TinyLayout layout = TinyLayout::gguf;
  uint64_t seed = 1;
  Format format = Format::f32;  // of matrices; Hugging Face: F32, F16 or BF16, for every tensor
  int n_files = 1;              // shards, or parts of a split

  int n_layers = 4;
  int full_attention_interval = 4;  // every so many layers, the last of them
  int d_model = 64;
  int n_heads = 4;
  int n_kv_heads = 2;
  int d_head = 32;
  int d_rotary = 8;
  int n_key_heads = 2;  // Gated DeltaNet
  int n_value_heads = 4;
  int d_key = 16;
  int d_value = 16;
  int n_experts = 8;
  int n_experts_used = 2;
  int d_ff = 32;
  int d_ff_shared = 32;
  int vocab_size = 320;  // with_tokenizer: at least 272
  int context_tokens = 512;

  bool with_mtp = false;
  bool with_vision = false;  // Hugging Face only: a few model.visual tensors, and names under model.language_model
  bool tie_embeddings = false;
  bool picks_sum_to_one = true;  // Hugging Face only: norm_topk_prob
  bool with_tokenizer = false;

  TinyModelOptions& with_k_quant_dims();
};

// Writes the checkpoint into an existing folder and returns the path to open. The same seed and dimensions describe
// the same model in hf_* with F32 and in gguf with F32; other float formats round it, quantised GGUF formats get
// random valid blocks of the same spread instead.
std::string write_tiny_model(const std::string& folder, const TinyModelOptions& options);

// `n_values` (a multiple of the block) of random valid blocks whose values spread by about `sigma`.
std::string random_blocks(Format format, int64_t n_values, float sigma, uint64_t seed);

// Values rounded to F32, F16 or BF16, as bytes.
std::string encode_floats(Format format, const std::vector<float>& values);

}  // namespace flashmoe
