#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/jinja/parser.h"
#include "text/prompt_guard.h"

namespace flashmoe {

using Json = nlohmann::ordered_json;

struct ChatTemplate::Parsed {
  jinja::Block block;
  Json defaults = Json::object();  // names a request need not give
};

namespace {

Json parse_json(std::string_view text, std::string_view file) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) fail(Fault::input, "{}: not a JSON object", file);
  return json;
}

// "chat_template" of tokenizer_config.json: one text, or several with names.
std::optional<std::string> template_in(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const Json& entry : *found) {
      const bool named = entry.is_object() && entry.contains("name") && entry.contains("template");
      if (named && entry["name"] == "default" && entry["template"].is_string())
        return entry["template"].get<std::string>();
    }
  }
  fail(Fault::input, "tokenizer_config.json: chat_template is neither text nor a list with one named \"default\"");
}

// bos_token, eos_token and their kind: text, or an object with the text in "content".
void add_marks(const Json& config, Json& defaults) {
  for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    const auto found = config.find(name);
    if (found == config.end()) continue;
    if (found->is_string()) {
      defaults[name] = *found;
    } else if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) {
      defaults[name] = (*found)["content"];
    }
  }
}

template <typename T>
const T* metadata(const Checkpoint& checkpoint, std::string_view key) {
  const auto found = checkpoint.metadata().find(key);
  return found == checkpoint.metadata().end() ? nullptr : std::get_if<T>(&found->second);
}

void add_marks(const Checkpoint& gguf, Json& defaults) {
  const auto* tokens = metadata<std::vector<std::string>>(gguf, "tokenizer.ggml.tokens");
  for (const char* name : {"bos", "eos"}) {
    const auto* id = metadata<uint64_t>(gguf, fmt::format("tokenizer.ggml.{}_token_id", name));
    if (tokens != nullptr && id != nullptr && *id < tokens->size()) {
      defaults[fmt::format("{}_token", name)] = (*tokens)[static_cast<size_t>(*id)];
    }
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source)
    : parsed_(std::make_unique<Parsed>()),
      has_json_calls_(source.find("<tool_call>") != source.npos && source.find("<function=") == source.npos) {
  parsed_->block = jinja::parse(source);
  parsed_->defaults["tools"] = nullptr;
  parsed_->defaults["documents"] = nullptr;
  parsed_->defaults["add_generation_prompt"] = true;
}

ChatTemplate::~ChatTemplate() = default;

std::optional<std::string> ChatTemplate::source_of(const Checkpoint& checkpoint) {
  if (checkpoint.dialect() == Dialect::gguf) {
    const auto* text = metadata<std::string>(checkpoint, "tokenizer.chat_template");
    return text == nullptr ? std::nullopt : std::optional(*text);
  }
  if (auto text = checkpoint.side_file("chat_template.jinja")) return text;
  const auto config = checkpoint.side_file("tokenizer_config.json");
  return config ? template_in(parse_json(*config, "tokenizer_config.json")) : std::nullopt;
}

std::unique_ptr<ChatTemplate> ChatTemplate::load(const Checkpoint& checkpoint) {
  const std::optional<std::string> source = source_of(checkpoint);
  Json marks = Json::object();
  if (checkpoint.dialect() == Dialect::gguf) {
    add_marks(checkpoint, marks);
  } else if (const auto text = checkpoint.side_file("tokenizer_config.json")) {
    add_marks(parse_json(*text, "tokenizer_config.json"), marks);
  }
  if (!source) return nullptr;
  auto loaded = std::make_unique<ChatTemplate>(*source);
  loaded->parsed_->defaults.update(marks);
  return loaded;
}

std::string ChatTemplate::render(const Json& request) const {
  if (!request.is_object()) fail(Fault::input, "a chat request is a JSON object with \"messages\"");
  const auto messages = request.find("messages");
  if (messages == request.end() || !messages->is_array())
    fail(Fault::input, "a chat request needs a list \"messages\"");
  Json context = parsed_->defaults;
  context.update(request);
  return jinja::render(parsed_->block, jinja::from_json(context));
}

std::vector<int32_t> ChatTemplate::encode(const Json& request, const Tokenizer& tokenizer) const {
  const PromptGuard guard(tokenizer);
  Json shielded = request;
  if (!guard.shield(shielded)) return tokenizer.encode(render(request), Marks::parse);
  return guard.encode(render(shielded));
}

}  // namespace flashmoe
