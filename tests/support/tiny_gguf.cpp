#include <fmt/format.h>

#include <algorithm>

#include "support/gguf_writer.h"
#include "support/random.h"
#include "support/tiny_containers.h"
#include "support/tiny_tokenizer.h"
#include "support/tiny_weights.h"

namespace flashmoe {
namespace {

uint32_t u32(int value) { return static_cast<uint32_t>(value); }

const char* architecture(const TinyModelOptions& options) {
  switch (options.family) {
    case TinyFamily::qwen3_next:
      return "qwen3next";
    case TinyFamily::qwen3_moe:
      return "qwen3moe";
    case TinyFamily::qwen3_5_moe:
      break;
  }
  return "qwen35moe";
}

void add_dimensions(GgufWriter& writer, const TinyModelOptions& o) {
  const std::string prefix = architecture(o) + std::string(".");
  const auto add = [&](const char* key, int value) { writer.add_u32(prefix + key, u32(value)); };
  add("block_count", o.n_layers + (o.with_mtp ? 1 : 0));
  add("context_length", o.context_tokens);
  add("embedding_length", o.d_model);
  add("feed_forward_length", o.d_ff);
  add("attention.head_count", o.n_heads);
  add("attention.head_count_kv", o.n_kv_heads);
  add("attention.key_length", o.d_head);
  add("attention.value_length", o.d_head);
  writer.add_f32(prefix + "attention.layer_norm_rms_epsilon", 1e-6f);
  writer.add_f32(prefix + "rope.freq_base", 1e7f);
  add("rope.dimension_count", o.d_rotary);
  const int half = o.d_rotary / 2, third = (half + 2) / 3;
  writer.add_i32s(prefix + "rope.dimension_sections",
                  {third, std::min(third, half - third), half - third - std::min(third, half - third), 0});
  add("expert_count", o.n_experts);
  add("expert_used_count", o.n_experts_used);
  add("expert_feed_forward_length", o.d_ff);
  add("expert_shared_feed_forward_length", o.d_ff_shared);
  add("ssm.conv_kernel", 4);
  add("ssm.inner_size", o.n_value_heads * o.d_value);
  add("ssm.state_size", o.d_key);
  add("ssm.time_step_rank", o.n_value_heads);
  add("ssm.group_count", o.n_key_heads);
  add("full_attention_interval", o.full_attention_interval);
  if (o.with_mtp) add("nextn_predict_layers", 1);
  add("vocab_size", o.vocab_size);
}

void add_tokenizer(GgufWriter& writer, const TinyModelOptions& options) {
  if (!options.with_tokenizer) {
    writer.add_string("tokenizer.ggml.model", "no_vocab");
    return;
  }
  constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4;
  const TinyVocabulary vocabulary = tiny_vocabulary(options.vocab_size);
  std::vector<int32_t> types(vocabulary.tokens.size(), kNormal);
  const auto first_mark = types.begin() + vocabulary.first_mark;
  std::fill(first_mark, types.end(), kUserDefined);
  std::fill_n(first_mark, kTinySpecialMarks, kControl);
  std::vector<std::string> merges;
  for (const auto& [left, right] : vocabulary.merges) merges.push_back(left + " " + right);
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", options.family == TinyFamily::qwen3_5_moe ? "qwen35" : "qwen2");
  writer.add_strings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.add_i32s("tokenizer.ggml.token_type", types);
  writer.add_strings("tokenizer.ggml.merges", merges);
  writer.add_u32("tokenizer.ggml.eos_token_id", u32(vocabulary.end_of_turn()));
  writer.add_u32("tokenizer.ggml.padding_token_id", u32(vocabulary.end_of_text()));
  writer.add_bool("tokenizer.ggml.add_bos_token", false);
  writer.add_string("tokenizer.chat_template", tiny_chat_template());
}

void add_weights(GgufWriter& writer, const TinyModelOptions& options, const TinyTensor& tensor) {
  const bool is_matrix = tensor.role == TinyRole::matrix || tensor.role == TinyRole::embedding;
  const FormatInfo& wanted = format_info(options.format);
  const bool fits = is_matrix && tensor.shape.back() % wanted.block_values == 0;
  const FormatInfo& info = fits ? wanted : format_info(Format::f32);
  const std::string data = info.is_float ? encode_floats(info.format, tiny_gguf_values(options, tensor))
                                         : random_blocks(info.format, tensor.n_values(), tiny_sigma(tensor),
                                                         Random(options.seed, tensor.hf_name).next());
  std::vector<uint64_t> shape;
  for (const int64_t dim : tensor.shape) shape.push_back(static_cast<uint64_t>(dim));
  if (tensor.role == TinyRole::conv) shape.erase(shape.begin() + 1);     // [C, 1, 4] -> [C, 4]
  if (tensor.role == TinyRole::shared_gate) shape.erase(shape.begin());  // [1, H] -> [H]
  writer.add_tensor(tensor.gguf_name, shape, info.gguf_type, data);
}

}  // namespace

std::string write_tiny_gguf(const std::string& folder, const TinyModelOptions& options) {
  const std::vector<TinyTensor> tensors = tiny_tensors(options);
  const int n_files = options.n_files;
  std::string first;
  for (int part = 0; part < n_files; ++part) {
    GgufWriter writer;
    if (part == 0) {
      writer.add_string("general.architecture", architecture(options));
      writer.add_string("general.name", "tiny");
      writer.add_u32("general.alignment", writer.alignment);
      add_dimensions(writer, options);
      add_tokenizer(writer, options);
      writer.add_u32("general.quantization_version", 2);
    }
    if (n_files > 1) {
      writer.add_u16("split.no", static_cast<uint16_t>(part));
      writer.add_u16("split.count", static_cast<uint16_t>(n_files));
      writer.add_i32("split.tensors.count", static_cast<int32_t>(tensors.size()));
    }
    const size_t begin = tensors.size() * static_cast<size_t>(part) / static_cast<size_t>(n_files);
    const size_t end = tensors.size() * static_cast<size_t>(part + 1) / static_cast<size_t>(n_files);
    for (size_t i = begin; i < end; ++i) add_weights(writer, options, tensors[i]);
    const std::string path =
        n_files == 1 ? folder + "/model.gguf" : fmt::format("{}/model-{:05}-of-{:05}.gguf", folder, part + 1, n_files);
    writer.write(path);
    if (part == 0) first = path;
  }
  return first;
}

}  // namespace flashmoe
