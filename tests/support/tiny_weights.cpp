#include "support/tiny_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "support/random.h"

namespace flashmoe {
namespace {

using Role = TinyRole;

class TensorList {
 public:
  explicit TensorList(const TinyModelOptions& options) : o_(options) {}

  std::vector<TinyTensor> build() {
    add("embed_tokens.weight", "token_embd.weight", {o_.vocab_size, o_.d_model}, Role::embedding);
    add("norm.weight", "output_norm.weight", {o_.d_model}, Role::norm);
    if (!o_.tie_embeddings) add("lm_head.weight", "output.weight", {o_.vocab_size, o_.d_model});
    for (int i = 0; i < o_.n_layers; ++i) {
      const std::string hf = fmt::format("layers.{}.", i), gguf = fmt::format("blk.{}.", i);
      add_layer(hf, gguf, is_full_attention(o_, i));
    }
    if (o_.with_mtp) add_mtp();
    return std::move(tensors_);
  }

 private:
  void add(std::string hf, std::string gguf, std::vector<int64_t> shape, Role role = Role::matrix,
           ValueHeads heads = ValueHeads::none) {
    tensors_.push_back({std::move(hf), std::move(gguf), std::move(shape), role, heads, {}});
  }

  void add_layer(const std::string& hf, const std::string& gguf, bool attention) {
    add(hf + "input_layernorm.weight", gguf + "attn_norm.weight", {o_.d_model}, Role::norm);
    add(hf + "post_attention_layernorm.weight",
        gguf + (is_qwen3_moe() ? "ffn_norm.weight" : "post_attention_norm.weight"), {o_.d_model}, Role::norm);
    if (attention) {
      add_attention(hf + "self_attn.", gguf);
    } else {
      add_delta_net(hf + "linear_attn.", gguf);
    }
    add_experts(hf + "mlp.", gguf);
  }

  void add_attention(const std::string& hf, const std::string& gguf) {
    add(hf + "q_proj.weight", gguf + "attn_q.weight", {(is_qwen3_moe() ? 1 : 2) * o_.n_heads * o_.d_head, o_.d_model});
    add(hf + "k_proj.weight", gguf + "attn_k.weight", {o_.n_kv_heads * o_.d_head, o_.d_model});
    add(hf + "v_proj.weight", gguf + "attn_v.weight", {o_.n_kv_heads * o_.d_head, o_.d_model});
    add(hf + "o_proj.weight", gguf + "attn_output.weight", {o_.d_model, o_.n_heads * o_.d_head});
    add(hf + "q_norm.weight", gguf + "attn_q_norm.weight", {o_.d_head}, Role::norm);
    add(hf + "k_norm.weight", gguf + "attn_k_norm.weight", {o_.d_head}, Role::norm);
  }

  void add_delta_net(const std::string& hf, const std::string& gguf) {
    const int64_t values = o_.n_value_heads * o_.d_value;
    const int64_t channels = 2 * o_.n_key_heads * o_.d_key + values;
    const bool packed = o_.family == TinyFamily::qwen3_next;
    if (packed && o_.layout != TinyLayout::gguf) {
      add_packed_qkvz(hf, channels, values);
    } else {
      add(hf + "in_proj_qkv.weight", gguf + "attn_qkv.weight", {channels, o_.d_model}, Role::matrix,
          ValueHeads::rows_after_keys);
      add(hf + "in_proj_z.weight", gguf + "attn_gate.weight", {values, o_.d_model}, Role::matrix, ValueHeads::rows);
    }
    add(hf + "conv1d.weight", gguf + "ssm_conv1d.weight", {channels, 1, 4}, Role::conv, ValueHeads::rows_after_keys);
    add(hf + "dt_bias", gguf + "ssm_dt.bias", {o_.n_value_heads}, Role::dt_bias, ValueHeads::rows);
    add(hf + "A_log", gguf + "ssm_a", {o_.n_value_heads}, Role::decay, ValueHeads::rows);
    if (packed) {
      const int64_t heads = o_.n_value_heads, r = heads / o_.n_key_heads;
      add(hf + "in_proj_ba.weight", gguf + "ssm_ba.weight", {2 * heads, o_.d_model});
      tensors_.back().pieces = {{hf + "in_proj_b.weight", heads, 0, r}, {hf + "in_proj_a.weight", heads, 0, r}};
    } else {
      add(hf + "in_proj_b.weight", gguf + "ssm_beta.weight", {o_.n_value_heads, o_.d_model}, Role::matrix,
          ValueHeads::rows);
      add(hf + "in_proj_a.weight", gguf + "ssm_alpha.weight", {o_.n_value_heads, o_.d_model}, Role::matrix,
          ValueHeads::rows);
    }
    add(hf + "norm.weight", gguf + "ssm_norm.weight", {o_.d_value}, Role::plain_norm);
    add(hf + "out_proj.weight", gguf + "ssm_out.weight", {o_.d_model, values}, Role::matrix, ValueHeads::columns);
  }

  void add_packed_qkvz(const std::string& hf, int64_t channels, int64_t values) {
    const std::string qkv = hf + "in_proj_qkv.weight";
    const int64_t keys = o_.n_key_heads * o_.d_key, per_head = values / o_.n_key_heads;
    add(hf + "in_proj_qkvz.weight", "", {channels + values, o_.d_model});
    tensors_.back().pieces = {{qkv, channels, 0, o_.d_key},
                              {qkv, channels, keys, o_.d_key},
                              {qkv, channels, 2 * keys, per_head},
                              {hf + "in_proj_z.weight", values, 0, per_head}};
  }

  void add_experts(const std::string& hf, const std::string& gguf) {
    add(hf + "gate.weight", gguf + "ffn_gate_inp.weight", {o_.n_experts, o_.d_model}, Role::router);
    add(hf + "experts.gate_proj", gguf + "ffn_gate_exps.weight", {o_.n_experts, o_.d_ff, o_.d_model});
    add(hf + "experts.up_proj", gguf + "ffn_up_exps.weight", {o_.n_experts, o_.d_ff, o_.d_model});
    add(hf + "experts.down_proj", gguf + "ffn_down_exps.weight", {o_.n_experts, o_.d_model, o_.d_ff});
    if (is_qwen3_moe()) return;
    add(hf + "shared_expert_gate.weight", gguf + "ffn_gate_inp_shexp.weight", {1, o_.d_model}, Role::shared_gate);
    add(hf + "shared_expert.gate_proj.weight", gguf + "ffn_gate_shexp.weight", {o_.d_ff_shared, o_.d_model});
    add(hf + "shared_expert.up_proj.weight", gguf + "ffn_up_shexp.weight", {o_.d_ff_shared, o_.d_model});
    add(hf + "shared_expert.down_proj.weight", gguf + "ffn_down_shexp.weight", {o_.d_model, o_.d_ff_shared});
  }

  void add_mtp() {
    const std::string gguf = fmt::format("blk.{}.", o_.n_layers);
    add_layer("mtp.layers.0.", gguf, true);
    add("mtp.fc.weight", gguf + "nextn.eh_proj.weight", {o_.d_model, 2 * o_.d_model});
    add("mtp.pre_fc_norm_embedding.weight", gguf + "nextn.enorm.weight", {o_.d_model}, Role::norm);
    add("mtp.pre_fc_norm_hidden.weight", gguf + "nextn.hnorm.weight", {o_.d_model}, Role::norm);
    add("mtp.norm.weight", gguf + "nextn.shared_head_norm.weight", {o_.d_model}, Role::norm);
  }

  bool is_qwen3_moe() const { return o_.family == TinyFamily::qwen3_moe; }

  const TinyModelOptions& o_;
  std::vector<TinyTensor> tensors_;
};

// Moves `n_heads` groups of `d` consecutive items from grouped to tiled order: tiled head p is grouped head
// (p % n_key_heads) * r + p / n_key_heads, r value heads to a key head. An item is `stride` floats.
void tile_heads(float* items, const TinyModelOptions& options, int64_t d, int64_t stride) {
  const int64_t keys = options.n_key_heads, heads = options.n_value_heads, r = heads / keys;
  const std::vector<float> grouped(items, items + heads * d * stride);
  for (int64_t p = 0; p < heads; ++p) {
    const int64_t from = p % keys * r + p / keys;
    std::copy_n(grouped.begin() + from * d * stride, d * stride, items + p * d * stride);
  }
}

std::vector<float> packed_values(const TinyModelOptions& options, const TinyTensor& tensor) {
  std::vector<float> packed;
  for (int64_t head = 0; head < options.n_key_heads; ++head) {
    for (const TinyPiece& piece : tensor.pieces) {
      TinyTensor source;
      source.hf_name = piece.hf_name;
      source.shape = {piece.rows, options.d_model};
      const std::vector<float> values = tiny_values(options, source);
      const int64_t first = piece.first_row + head * piece.rows_per_head;
      packed.insert(packed.end(), values.begin() + first * options.d_model,
                    values.begin() + (first + piece.rows_per_head) * options.d_model);
    }
  }
  return packed;
}

}  // namespace

int64_t TinyTensor::n_values() const {
  int64_t n = 1;
  for (const int64_t dim : shape) n *= dim;
  return n;
}

bool is_full_attention(const TinyModelOptions& options, int layer) {
  return options.family == TinyFamily::qwen3_moe || (layer + 1) % options.full_attention_interval == 0;
}

std::vector<TinyTensor> tiny_tensors(const TinyModelOptions& options) { return TensorList(options).build(); }

float tiny_sigma(const TinyTensor& tensor) {
  if (tensor.role == TinyRole::embedding) return 1.0f;
  // Logits and router scores must differ enough that rounding does not reorder them.
  const float gain = tensor.role == TinyRole::router || tensor.hf_name == "lm_head.weight" ? 2.0f : 1.0f;
  return gain / std::sqrt(static_cast<float>(tensor.shape.back()));
}

std::vector<float> tiny_values(const TinyModelOptions& options, const TinyTensor& tensor) {
  if (!tensor.pieces.empty()) return packed_values(options, tensor);
  Random random(options.seed, tensor.hf_name);
  std::vector<float> values(static_cast<size_t>(tensor.n_values()));
  const float sigma = tiny_sigma(tensor);
  for (float& value : values) {
    switch (tensor.role) {
      case TinyRole::norm:
        value = (options.family == TinyFamily::qwen3_moe ? 1.0f : 0.0f) + 0.1f * random.normal();
        break;
      case TinyRole::plain_norm:
        value = 1.0f + 0.1f * random.normal();
        break;
      case TinyRole::conv:
        value = 0.4f * random.normal();
        break;
      // Decays between 0.3 and 0.99 a token: the state neither dies nor grows.
      case TinyRole::decay:
        value = -3.0f + 3.0f * random.uniform();
        break;
      case TinyRole::dt_bias:
        value = 0.5f * random.normal();
        break;
      default:
        value = sigma * random.normal();
    }
  }
  return values;
}

std::vector<float> tiny_gguf_values(const TinyModelOptions& options, const TinyTensor& tensor) {
  std::vector<float> values = tiny_values(options, tensor);
  for (float& value : values) {
    if (tensor.role == TinyRole::norm && options.family != TinyFamily::qwen3_moe) value += 1.0f;
    if (tensor.role == TinyRole::decay) value = -std::exp(value);
  }
  if (options.family == TinyFamily::qwen3_next) return values;  // value heads stay grouped
  const int64_t stride = tensor.n_values() / tensor.shape[0];
  const int64_t keys = 2 * options.n_key_heads * options.d_key;
  switch (tensor.value_heads) {
    case ValueHeads::none:
      break;
    case ValueHeads::rows:
      tile_heads(values.data(), options, tensor.shape[0] / options.n_value_heads, stride);
      break;
    case ValueHeads::rows_after_keys:
      tile_heads(values.data() + keys * stride, options, options.d_value, stride);
      break;
    case ValueHeads::columns:
      for (int64_t row = 0; row < tensor.shape[0]; ++row) {
        tile_heads(values.data() + row * stride, options, options.d_value, 1);
      }
      break;
  }
  return values;
}

}  // namespace flashmoe
