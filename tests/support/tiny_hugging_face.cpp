#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "support/safetensors_writer.h"
#include "support/temp_dir.h"
#include "support/tiny_containers.h"
#include "support/tiny_tokenizer.h"
#include "support/tiny_weights.h"

namespace flashmoe {
namespace {

using json = nlohmann::ordered_json;

struct NamedTensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

std::vector<uint64_t> unsigned_shape(const std::vector<int64_t>& shape) { return {shape.begin(), shape.end()}; }

std::string full_name(const TinyModelOptions& options, const std::string& name) {
  if (name.starts_with("mtp.") || name.starts_with("lm_head.")) return name;
  return (options.with_vision ? "model.language_model." : "model.") + name;
}

// The names and layouts that the chosen layout gives one tensor. `gate` keeps experts.gate_proj until experts.up_proj
// comes, which the stacked layout writes behind it, expert by expert.
void append_tensor(std::vector<NamedTensor>& out, const TinyModelOptions& options, const TinyTensor& tensor,
                   std::vector<float>& gate) {
  const std::string name = full_name(options, tensor.hf_name);
  std::vector<float> values = tiny_values(options, tensor);
  const size_t experts = name.find(".experts.");
  if (experts == std::string::npos) {
    out.push_back({name, unsigned_shape(tensor.shape), std::move(values)});
    return;
  }
  const std::string stem = name.substr(0, experts) + ".experts.", projection = name.substr(stem.size());
  const auto n_experts = static_cast<size_t>(options.n_experts);
  const size_t per_expert = values.size() / n_experts;
  std::vector<uint64_t> shape = unsigned_shape(tensor.shape);
  if (options.layout == TinyLayout::hf_per_expert) {
    shape.erase(shape.begin());
    for (size_t e = 0; e < n_experts; ++e) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(e * per_expert);
      out.push_back({fmt::format("{}{}.{}.weight", stem, e, projection), shape,
                     std::vector<float>(first, first + static_cast<std::ptrdiff_t>(per_expert))});
    }
  } else if (projection == "gate_proj") {
    gate = std::move(values);
  } else if (projection == "up_proj") {
    std::vector<float> both;
    for (size_t e = 0; e < n_experts; ++e) {
      for (const std::vector<float>* half : {&gate, &values}) {
        const auto first = half->begin() + static_cast<std::ptrdiff_t>(e * per_expert);
        both.insert(both.end(), first, first + static_cast<std::ptrdiff_t>(per_expert));
      }
    }
    shape[1] *= 2;
    out.push_back({stem + "gate_up_proj", shape, std::move(both)});
  } else {
    out.push_back({name, shape, std::move(values)});
  }
}

std::vector<NamedTensor> all_tensors(const TinyModelOptions& options) {
  std::vector<NamedTensor> tensors;
  std::vector<float> gate;
  for (const TinyTensor& tensor : tiny_tensors(options)) append_tensor(tensors, options, tensor, gate);
  if (options.with_vision) {
    tensors.push_back({"model.visual.patch_embed.proj.weight", {8, 3, 2, 4, 4}, std::vector<float>(768, 0.5f)});
    tensors.push_back({"model.visual.merger.norm.weight", {8}, std::vector<float>(8, 1.0f)});
  }
  return tensors;
}

const char* model_type(const TinyModelOptions& options) {
  switch (options.family) {
    case TinyFamily::qwen3_next:
      return "qwen3_next";
    case TinyFamily::qwen3_moe:
      return "qwen3_moe";
    case TinyFamily::qwen3_5_moe:
      break;
  }
  return "qwen3_5_moe_text";
}

json text_config(const TinyModelOptions& o) {
  json layer_types = json::array();
  for (int i = 0; i < o.n_layers; ++i) {
    layer_types.push_back(is_full_attention(o, i) ? "full_attention" : "linear_attention");
  }
  const int half = o.d_rotary / 2, third = (half + 2) / 3, second = std::min(third, half - third);
  const double partial = static_cast<double>(o.d_rotary) / o.d_head;
  json config = {{"attention_bias", false},
                 {"head_dim", o.d_head},
                 {"hidden_act", "silu"},
                 {"hidden_size", o.d_model},
                 {"layer_types", layer_types},
                 {"linear_conv_kernel_dim", 4},
                 {"linear_key_head_dim", o.d_key},
                 {"linear_num_key_heads", o.n_key_heads},
                 {"linear_num_value_heads", o.n_value_heads},
                 {"linear_value_head_dim", o.d_value},
                 {"max_position_embeddings", o.context_tokens},
                 {"model_type", model_type(o)},
                 {"moe_intermediate_size", o.d_ff},
                 {"norm_topk_prob", o.picks_sum_to_one},
                 {"num_attention_heads", o.n_heads},
                 {"num_experts", o.n_experts},
                 {"num_experts_per_tok", o.n_experts_used},
                 {"num_hidden_layers", o.n_layers},
                 {"num_key_value_heads", o.n_kv_heads},
                 {"partial_rotary_factor", partial},
                 {"rms_norm_eps", 1e-6},
                 {"rope_parameters",
                  {{"mrope_interleaved", true},
                   {"mrope_section", {third, second, half - third - second}},
                   {"partial_rotary_factor", partial},
                   {"rope_theta", 1e7},
                   {"rope_type", "default"}}},
                 {"shared_expert_intermediate_size", o.d_ff_shared},
                 {"tie_word_embeddings", o.tie_embeddings},
                 {"vocab_size", o.vocab_size}};
  if (o.with_mtp) config["mtp_num_hidden_layers"] = 1;
  if (o.with_tokenizer) config["eos_token_id"] = tiny_vocabulary(o.vocab_size).end_of_turn();
  return config;
}

json model_config(const TinyModelOptions& options) {
  json text = text_config(options);
  const char* dtype = options.format == Format::f32   ? "float32"
                      : options.format == Format::f16 ? "float16"
                                                      : "bfloat16";
  if (!options.with_vision) {
    text["architectures"] = {"Qwen3_5MoeForCausalLM"};
    text["dtype"] = dtype;
    return text;
  }
  return {{"architectures", {"Qwen3_5MoeForConditionalGeneration"}},
          {"dtype", dtype},
          {"model_type", "qwen3_5_moe"},
          {"text_config", text},
          {"tie_word_embeddings", options.tie_embeddings},
          {"vision_config", {{"depth", 0}, {"hidden_size", 8}, {"model_type", "qwen3_5_moe_vision"}}}};
}

json tokenizer_json(const TinyModelOptions& options) {
  const TinyVocabulary vocabulary = tiny_vocabulary(options.vocab_size);
  json vocab = json::object(), added = json::array(), merges = json::array();
  for (int id = 0; id < options.vocab_size; ++id) {
    const std::string& token = vocabulary.tokens[static_cast<size_t>(id)];
    if (id < vocabulary.first_mark) {
      vocab[token] = id;
      continue;
    }
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", id < vocabulary.first_mark + kTinySpecialMarks}});
  }
  for (const auto& [left, right] : vocabulary.merges) merges.push_back({left, right});
  const json split = {
      {"type", "Split"}, {"pattern", {{"Regex", tiny_split_pattern()}}}, {"behavior", "Isolated"}, {"invert", false}};
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", json::array({split, bytes})}}},
          {"post_processor", nullptr},
          {"decoder", bytes},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

void write_side_files(const std::string& folder, const TinyModelOptions& options) {
  write_bytes(folder + "/config.json", model_config(options).dump(1));
  if (!options.with_tokenizer) return;
  const TinyVocabulary vocabulary = tiny_vocabulary(options.vocab_size);
  const json generation = {{"eos_token_id", {vocabulary.end_of_turn(), vocabulary.end_of_text()}},
                           {"pad_token_id", vocabulary.end_of_text()}};
  const json tokenizer = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                          {"eos_token", "<|im_end|>"},
                          {"pad_token", "<|endoftext|>"},
                          {"add_bos_token", false}};
  write_bytes(folder + "/tokenizer.json", tokenizer_json(options).dump());
  write_bytes(folder + "/tokenizer_config.json", tokenizer.dump(1));
  write_bytes(folder + "/generation_config.json", generation.dump(1));
  write_bytes(folder + "/chat_template.jinja", tiny_chat_template());
}

}  // namespace

std::string write_tiny_hugging_face(const std::string& folder, const TinyModelOptions& options) {
  const FormatInfo& info = format_info(options.format);
  CHECK(info.is_float);
  write_side_files(folder, options);
  const std::vector<NamedTensor> tensors = all_tensors(options);
  const auto n_files = static_cast<size_t>(options.n_files);
  json weight_map = json::object();
  uint64_t total_bytes = 0;
  for (size_t shard = 0; shard < n_files; ++shard) {
    const std::string name =
        n_files == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, n_files);
    SafetensorsWriter writer;
    for (size_t i = tensors.size() * shard / n_files; i < tensors.size() * (shard + 1) / n_files; ++i) {
      writer.add_tensor(tensors[i].name, info.safetensors_name, tensors[i].shape,
                        encode_floats(options.format, tensors[i].values));
      weight_map[tensors[i].name] = name;
    }
    total_bytes += writer.data_bytes();
    writer.write(folder + "/" + name);
  }
  if (n_files > 1) {
    const json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}};
    write_bytes(folder + "/model.safetensors.index.json", index.dump(1));
  }
  return folder;
}

}  // namespace flashmoe
