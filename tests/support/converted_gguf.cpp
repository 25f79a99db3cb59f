#include "support/converted_gguf.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "checkpoint/checkpoint.h"
#include "support/gguf_writer.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

struct Names {
  const char *hugging_face, *gguf;
};
constexpr std::array kLayerNames = {
    Names{"input_layernorm.weight", "attn_norm.weight"},
    Names{"self_attn.q_proj.weight", "attn_q.weight"},
    Names{"self_attn.k_proj.weight", "attn_k.weight"},
    Names{"self_attn.v_proj.weight", "attn_v.weight"},
    Names{"self_attn.o_proj.weight", "attn_output.weight"},
    Names{"self_attn.q_norm.weight", "attn_q_norm.weight"},
    Names{"self_attn.k_norm.weight", "attn_k_norm.weight"},
    Names{"linear_attn.conv1d.weight", "ssm_conv1d.weight"},
    Names{"linear_attn.dt_bias", "ssm_dt.bias"},
    Names{"linear_attn.A_log", "ssm_a"},
    Names{"linear_attn.norm.weight", "ssm_norm.weight"},
    Names{"linear_attn.in_proj_ba.weight", "ssm_ba.weight"},
    Names{"linear_attn.out_proj.weight", "ssm_out.weight"},
    Names{"mlp.gate.weight", "ffn_gate_inp.weight"},
    Names{"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight"},
    Names{"mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight"},
    Names{"mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight"},
    Names{"mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight"},
};

class Converter {
 public:
  Converter(const std::string& source, ConvertedForm form)
      : from_(Checkpoint::open(source)), config_(from_->config()), form_(form) {
    next_ = config_["model_type"] == "qwen3_next";
  }

  void write(const std::string& path) {
    add_dimensions();
    copy("model.embed_tokens.weight", "token_embd.weight");
    copy("model.norm.weight", "output_norm.weight");
    copy("lm_head.weight", "output.weight");
    for (int i = 0; i < config_["num_hidden_layers"].get<int>(); ++i) {
      const std::string hf = fmt::format("model.layers.{}.", i), gguf = fmt::format("blk.{}.", i);
      for (const Names& names : kLayerNames) copy(hf + names.hugging_face, gguf + names.gguf);
      copy(hf + "post_attention_layernorm.weight", gguf + (next_ ? "post_attention_norm.weight" : "ffn_norm.weight"));
      if (from_->find(hf + "linear_attn.in_proj_qkvz.weight") != nullptr) add_qkvz(hf, gguf);
      for (const char* part : {"gate", "up", "down"}) add_experts(hf, gguf, part);
    }
    writer_.write(path);
  }

 private:
  std::vector<float> values(const std::string& name) const {
    const TensorInfo* tensor = from_->find(name);
    CHECK(tensor != nullptr);
    std::vector<std::byte> raw(tensor->bytes);
    from_->files()[tensor->file]->read(tensor->offset, raw);
    std::vector<float> all(static_cast<size_t>(tensor->n_values()));
    format_info(tensor->format).decode({raw.data()}, 0, tensor->n_values(), all.data());
    return all;
  }

  void add(const std::string& name, const std::vector<uint64_t>& shape, const std::vector<float>& all) {
    writer_.add_tensor(name, shape, format_info(Format::f32).gguf_type, encode_floats(Format::f32, all));
  }

  // Tensors that this family does not have are left out.
  void copy(const std::string& name, const std::string& gguf_name) {
    const TensorInfo* tensor = from_->find(name);
    if (tensor == nullptr) return;
    std::vector<float> all = values(name);
    for (float& value : all) {
      if (name.ends_with("A_log")) value = -std::exp(value);
      if (next_ && name.ends_with("norm.weight") && !name.ends_with("linear_attn.norm.weight")) value += 1;
    }
    std::vector<uint64_t> shape(tensor->shape.begin(), tensor->shape.end());
    if (shape.size() == 3) shape.erase(shape.begin() + 1);  // conv1d
    add(gguf_name, shape, all);
  }

  // Rows per key head [q | k | v | z] become [all q | all k | all v] and [all z].
  void add_qkvz(const std::string& hf, const std::string& gguf) {
    const std::string name = hf + "linear_attn.in_proj_qkvz.weight";
    if (form_ == ConvertedForm::packed_rows) return copy(name, gguf + "ssm_in.weight");
    const std::vector<float> all = values(name);
    const auto cols = config_["hidden_size"].get<size_t>(), heads = config_["linear_num_key_heads"].get<size_t>();
    const auto keys = config_["linear_key_head_dim"].get<size_t>() * cols;
    const size_t per_head = all.size() / heads, per_value = (per_head - 2 * keys) / 2;
    const auto gather = [&](std::vector<float>& to, size_t first, size_t n) {
      for (size_t head = 0; head < heads; ++head) {
        const auto begin = all.begin() + static_cast<std::ptrdiff_t>(head * per_head + first);
        to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(n));
      }
    };
    std::vector<float> qkv, z;
    gather(qkv, 0, keys);
    gather(qkv, keys, keys);
    gather(qkv, 2 * keys, per_value);
    gather(z, 2 * keys + per_value, per_value);
    add(gguf + "attn_qkv.weight", {qkv.size() / cols, cols}, qkv);
    add(gguf + "attn_gate.weight", {z.size() / cols, cols}, z);
  }

  void add_experts(const std::string& hf, const std::string& gguf, const std::string& part) {
    std::vector<float> all;
    const int n =
        config_.contains("num_experts") ? config_["num_experts"].get<int>() : config_["num_local_experts"].get<int>();
    const auto name = [&](int e) { return fmt::format("{}mlp.experts.{}.{}_proj.weight", hf, e, part); };
    for (int e = 0; e < n; ++e) {
      const std::vector<float> one = values(name(e));
      all.insert(all.end(), one.begin(), one.end());
    }
    const auto& shape = from_->find(name(0))->shape;
    add(fmt::format("{}ffn_{}_exps.weight", gguf, part),
        {static_cast<uint64_t>(n), static_cast<uint64_t>(shape[0]), static_cast<uint64_t>(shape[1])}, all);
  }

  void add_dimensions() {
    const std::string prefix = next_ ? "qwen3next." : "qwen3moe.";
    const auto set = [&](const char* key, const char* field) {
      if (config_.contains(field)) writer_.add_u32(prefix + key, config_[field].get<uint32_t>());
    };
    writer_.add_string("general.architecture", prefix.substr(0, prefix.size() - 1));
    set("block_count", "num_hidden_layers");
    set("context_length", "max_position_embeddings");
    set("embedding_length", "hidden_size");
    set("attention.head_count", "num_attention_heads");
    set("attention.head_count_kv", "num_key_value_heads");
    set("attention.key_length", "head_dim");
    set("expert_count", "num_experts");
    set("expert_count", "num_local_experts");
    set("expert_used_count", "num_experts_per_tok");
    set("expert_feed_forward_length", "moe_intermediate_size");
    writer_.add_f32(prefix + "attention.layer_norm_rms_epsilon", config_["rms_norm_eps"].get<float>());
    writer_.add_f32(prefix + "rope.freq_base", config_["rope_parameters"]["rope_theta"].get<float>());
    if (!next_) return;
    set("expert_shared_feed_forward_length", "shared_expert_intermediate_size");
    set("ssm.conv_kernel", "linear_conv_kernel_dim");
    set("ssm.state_size", "linear_key_head_dim");
    set("ssm.group_count", "linear_num_key_heads");
    set("ssm.time_step_rank", "linear_num_value_heads");
    writer_.add_u32(prefix + "ssm.inner_size", config_["linear_num_value_heads"].get<uint32_t>() *
                                                   config_["linear_value_head_dim"].get<uint32_t>());
    writer_.add_u32(
        prefix + "rope.dimension_count",
        static_cast<uint32_t>(config_["head_dim"].get<double>() * config_["partial_rotary_factor"].get<double>()));
    std::string recurrent;
    for (const auto& type : config_["layer_types"]) recurrent += type == "linear_attention" ? '\1' : '\0';
    writer_.add_array(prefix + "attention.recurrent_layers", GgufKind::boolean, recurrent.size(), recurrent);
  }

  std::unique_ptr<Checkpoint> from_;
  const nlohmann::json& config_;
  ConvertedForm form_;
  bool next_ = false;
  GgufWriter writer_;
};

}  // namespace

std::string write_converted_gguf(const std::string& source, const std::string& folder, ConvertedForm form) {
  const std::string path = folder + "/converted.gguf";
  Converter(source, form).write(path);
  return path;
}

}  // namespace flashmoe
