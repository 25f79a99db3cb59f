// The dimensions of a model, taken from its checkpoint. A family fills this in; stages read it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flashmoe {

// Which key head a value head of Gated DeltaNet reads, r = n_value_heads / n_key_heads.
enum class HeadOrder {
  grouped,  // value head j reads key head j / r (Hugging Face, MLX)
  tiled     // value head j reads key head j % n_key_heads (GGUF)
};

struct AttentionConfig {
  int64_t n_heads = 0, n_kv_heads = 0, d_head = 0;
  int64_t rotary_dims = 0;
  double rope_theta = 0;
  bool output_gate = false;  // q comes with a gate of its size, whose sigmoid scales the output
  int64_t q_width() const { return n_heads * d_head; }
  int64_t q_stride() const { return output_gate ? 2 * d_head : d_head; }  // from head to head as projected
};

struct DeltaNetConfig {
  int64_t n_key_heads = 0, n_value_heads = 0, d_key = 0, d_value = 0;
  HeadOrder head_order = HeadOrder::grouped;
  int64_t key_width() const { return n_key_heads * d_key; }
  int64_t value_width() const { return n_value_heads * d_value; }
  int64_t conv_channels() const { return 2 * key_width() + value_width(); }  // [q | k | v]
  int64_t key_head_of(int64_t value_head) const {
    return head_order == HeadOrder::tiled ? value_head % n_key_heads : value_head / (n_value_heads / n_key_heads);
  }
  // The i-th of those that read a key head.
  int64_t value_head_of(int64_t key_head, int64_t i) const {
    return head_order == HeadOrder::tiled ? i * n_key_heads + key_head : key_head * (n_value_heads / n_key_heads) + i;
  }
};

inline constexpr int64_t kConvWidth = 4;  // taps of the causal convolution; the history holds one fewer

struct ModelConfig {
  std::string name;  // as the checkpoint names itself; may be empty
  int n_layers = 0;
  int n_draft_layers = 0;  // of a head that drafts tokens, which the file has beside the layers; not run
  int64_t d_model = 0;
  int64_t vocab_size = 0;
  int64_t context_tokens = 0;
  float norm_eps = 1e-6F;
  bool tied_embeddings = false;          // the embedding is the output matrix too
  std::vector<bool> layer_is_attention;  // [n_layers]; the others are Gated DeltaNet
  AttentionConfig attention;
  DeltaNetConfig delta_net;
  int n_experts = 0, n_experts_used = 0;
  bool picks_sum_to_one = true;              // weights of a token's picks are renormalised
  int64_t d_ff_expert = 0, d_ff_shared = 0;  // d_ff_shared 0: no shared expert

  int n_attention_layers() const;
  int n_delta_layers() const { return n_layers - n_attention_layers(); }
};

}  // namespace flashmoe
