// flashmoe inspect: what a model file holds and what running it takes, from its headers alone.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>

#include "commands.h"
#include "flashmoe/engine.h"
#include "flashmoe/wording.h"
#include "json.h"
#include "model_options.h"
#include "option_values.h"
#include "quantities.h"
#include "run_description.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr size_t kUnusedShown = 10;

class Page {
 public:
  void row(const char* name, const std::string& value) {
    text_ += fmt::format("{:<18}  {}\n", name, without_controls(value));
  }
  void line(const std::string& value) { text_ += value + "\n"; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void describe_shape(const ModelReport& model, Page& page) {
  page.row("model", model.name.empty() ? model.path : fmt::format("{} ({})", model.name, model.path));
  page.row("container", fmt::format("{}, {}", model.container, human_bytes(model.file_bytes)));
  page.row("family", model.family);
  page.row("parameters", show_count(model.n_parameters));
  const int n_delta_layers = model.n_layers - model.n_attention_layers;
  page.row("layers", fmt::format("{} ({} attention{})", model.n_layers, model.n_attention_layers,
                                 n_delta_layers > 0 ? fmt::format(", {} delta-net", n_delta_layers) : ""));
  page.row("width", fmt::format("{}; expert {}, {}", model.d_model, model.d_ff_expert,
                                model.d_ff_shared > 0 ? fmt::format("shared expert {}", model.d_ff_shared)
                                                      : std::string("no shared expert")));
  page.row("experts", fmt::format("{} a layer, {} used by each token", model.n_experts, model.n_experts_used));
  page.row("attention",
           fmt::format("{} query heads, {} key/value heads of {}", model.n_heads, model.n_kv_heads, model.d_head));
  if (n_delta_layers > 0) {
    page.row("delta-net", fmt::format("{} key heads of {}, {} value heads of {}", model.n_key_heads, model.d_key,
                                      model.n_value_heads, model.d_value));
  }
  page.row("vocabulary", show_count(static_cast<uint64_t>(model.vocab_size)));
  page.row("context", fmt::format("{} tokens", show_count(static_cast<uint64_t>(model.context_tokens))));
  page.row("text", fmt::format("{}, {}", model.has_tokenizer ? "tokenizer" : "no tokenizer",
                               model.has_chat_template ? "chat template" : "no chat template"));
}

uint64_t tensor_bytes(const ModelReport& model) {
  uint64_t total = 0;
  for (const FormatBytes& format : model.formats) total += format.bytes;
  return total;
}

// In memory they take more: tensors are read at the borders of blocks.
uint64_t trunk_tensor_bytes(const ModelReport& model) {
  uint64_t others = model.expert_bytes + model.unused_bytes;
  for (const PartNotRun& part : model.not_run) others += part.bytes;
  return tensor_bytes(model) - others;
}

void describe_sizes(const ModelReport& model, Page& page) {
  page.line("");
  page.row("trunk", fmt::format("{}, stays in memory, where it takes {}", human_bytes(trunk_tensor_bytes(model)),
                                human_bytes(model.trunk_bytes)));
  if (model.embedding_bytes > 0) {
    page.row("", fmt::format("{} of it, the embedding, may stay in the file", human_bytes(model.embedding_bytes)));
  }
  const auto n_experts = static_cast<uint64_t>(model.n_layers) * static_cast<uint64_t>(model.n_experts);
  page.row("experts", fmt::format("{}, {}", human_bytes(model.expert_bytes),
                                  show_each(model.expert_bytes, n_experts, model.bytes_per_expert)));
  for (const PartNotRun& part : model.not_run) {
    page.row("not run", fmt::format("{}, {}", human_bytes(part.bytes), part.what));
  }
  page.row("a token reads", fmt::format("{} of trunk, {} of experts", human_bytes(model.trunk_bytes_per_token),
                                        human_bytes(model.expert_bytes_per_token)));
  page.row("a sequence holds",
           fmt::format("{} a token{}", human_bytes(model.kv_bytes_per_token),
                       model.state_bytes > 0 ? fmt::format(", {} of state", human_bytes(model.state_bytes)) : ""));
}

void describe_tensors(const ModelReport& model, Page& page) {
  page.line("");
  page.row("tensors", fmt::format("{}, {}", show_count(model.n_tensors), human_bytes(tensor_bytes(model))));
  size_t width = 6;
  for (const FormatBytes& format : model.formats) width = std::max(width, format.format.size());
  for (const FormatBytes& format : model.formats) {
    page.row("", fmt::format("{:<{}} {:>6}  {}", format.format, width, show_count(format.n_tensors),
                             human_bytes(format.bytes)));
  }
  const size_t n_unused = model.unused_tensors.size();
  if (n_unused == 0) return;
  page.row("not used", fmt::format("{}, {}", show_count(n_unused), human_bytes(model.unused_bytes)));
  for (size_t i = 0; i < std::min(n_unused, kUnusedShown); ++i) page.row("", model.unused_tensors[i]);
  if (n_unused > kUnusedShown) page.row("", fmt::format("and {} more: --json", n_unused - kUnusedShown));
}

std::string report_json(const ModelReport& model) {
  Json json;
  json["path"] = model.path;
  json["name"] = model.name;
  json["container"] = model.container;
  json["family"] = model.family;
  json["n_layers"] = model.n_layers;
  json["n_attention_layers"] = model.n_attention_layers;
  json["d_model"] = model.d_model;
  json["d_ff_expert"] = model.d_ff_expert;
  json["d_ff_shared"] = model.d_ff_shared;
  json["vocab_size"] = model.vocab_size;
  json["context_tokens"] = model.context_tokens;
  json["n_experts"] = model.n_experts;
  json["n_experts_used"] = model.n_experts_used;
  json["n_heads"] = model.n_heads;
  json["n_kv_heads"] = model.n_kv_heads;
  json["d_head"] = model.d_head;
  json["n_key_heads"] = model.n_key_heads;
  json["n_value_heads"] = model.n_value_heads;
  json["d_key"] = model.d_key;
  json["d_value"] = model.d_value;
  json["file_bytes"] = model.file_bytes;
  json["n_tensors"] = model.n_tensors;
  json["n_parameters"] = model.n_parameters;
  json["tensor_bytes"] = tensor_bytes(model);
  json["trunk_tensor_bytes"] = trunk_tensor_bytes(model);
  json["trunk_bytes"] = model.trunk_bytes;
  json["embedding_bytes"] = model.embedding_bytes;
  json["expert_bytes"] = model.expert_bytes;
  json["bytes_per_expert"] = model.bytes_per_expert;
  json["trunk_bytes_per_token"] = model.trunk_bytes_per_token;
  json["expert_bytes_per_token"] = model.expert_bytes_per_token;
  json["kv_bytes_per_token"] = model.kv_bytes_per_token;
  json["state_bytes"] = model.state_bytes;
  json["formats"] = Json::array();
  for (const FormatBytes& format : model.formats) {
    json["formats"].push_back({{"format", format.format}, {"n_tensors", format.n_tensors}, {"bytes", format.bytes}});
  }
  json["not_run"] = Json::array();
  for (const PartNotRun& part : model.not_run) json["not_run"].push_back({{"what", part.what}, {"bytes", part.bytes}});
  json["unused_tensors"] = model.unused_tensors;
  json["unused_bytes"] = model.unused_bytes;
  json["has_tokenizer"] = model.has_tokenizer;
  json["has_chat_template"] = model.has_chat_template;
  return dump(json, 2) + "\n";
}

int inspect(const std::string& path, bool as_json) {
  const ModelReport model = Engine::inspect(model_or_builtin(path));
  Page page;
  describe_shape(model, page);
  describe_sizes(model, page);
  describe_tensors(model, page);
  StandardOutput().write(as_json ? report_json(model) : page.text());
  return kExitOk;
}

}  // namespace

Command add_inspect(CLI::App& cli) {
  struct Options {
    std::string model;
    bool json = false;
  };
  auto chosen = std::make_shared<Options>();
  CLI::App* options = cli.add_subcommand("inspect", "Tell what a model holds and what it takes to run it");
  options
      ->add_option(
          "-m,--model,MODEL", chosen->model,
          "A .gguf file (any part of a split), or a folder of safetensors or that flashmoe pack wrote; default: the "
          "built-in model")
      ->option_text("MODEL")
      ->check(not_empty);
  options->add_flag("--json", chosen->json, "Print everything as JSON");
  options->footer("Example:\n  flashmoe inspect model.gguf");
  return {options, [chosen] { return inspect(chosen->model, chosen->json); }};
}

}  // namespace flashmoe
