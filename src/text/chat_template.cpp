#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/small_file.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/jinja/parser.h"
#include "text/prompt_guard.h"

namespace flashmoe {

using Json = nlohmann::ordered_json;

struct ChatTemplate::Parsed {
  jinja::Block block;
  Json defaults = Json::object();  // names a request need not give
  std::string fault;               // why it does not parse; empty: it does

  std::string render(const Json& request) const {
    Json context = defaults;
    context.update(request);
    return jinja::render(block, jinja::from_json(context));
  }
};

namespace {

constexpr size_t kMostTemplateBytes = size_t{16} << 20;

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

std::string template_file(const std::string& path) {
  auto text = read_small_file(path, kMostTemplateBytes);
  if (!text)
    fail(Fault::io, "{}: no chat template can be read there, a file of at most {} MiB", path, kMostTemplateBytes >> 20);
  return *std::move(text);
}

bool is_system(const Json& message) {
  const Json role = message.is_object() ? message.value("role", Json()) : Json();
  return role == "system" || role == "developer";
}

// Some templates refuse a system message in the middle, which clients send: what it says comes from the user then.
// Nothing where there is none.
std::optional<Json> with_users_for_later_systems(const Json& request) {
  Json out = request;
  bool leading = true, changed = false;
  for (Json& message : out["messages"]) {
    leading = leading && is_system(message);
    if (leading || !is_system(message)) continue;
    message["role"] = "user";
    changed = true;
  }
  return changed ? std::optional(std::move(out)) : std::nullopt;
}

// Templates of models that always think open it whatever the request says. Closed as others do when they are asked to.
void close_thinking(std::string& text) {
  const size_t end = text.find_last_not_of('\n') + 1;
  if (std::string_view(text).substr(0, end).ends_with("<think>")) text.replace(end, text.npos, "\n\n</think>\n\n");
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source)
    : parsed_(std::make_unique<Parsed>()),
      has_json_calls_(source.find("<tool_call>") != source.npos && source.find("<function=") == source.npos) {
  try {
    parsed_->block = jinja::parse(source);
  } catch (const Error& error) {
    parsed_->fault = error.what();
  }
  parsed_->defaults["tools"] = nullptr;
  parsed_->defaults["documents"] = nullptr;
  parsed_->defaults["add_generation_prompt"] = true;
}

ChatTemplate::~ChatTemplate() = default;

const std::string& ChatTemplate::fault() const { return parsed_->fault; }

std::optional<std::string> ChatTemplate::source_of(const Checkpoint& checkpoint) {
  if (checkpoint.dialect() == Dialect::gguf) {
    const auto* text = metadata<std::string>(checkpoint, "tokenizer.chat_template");
    return text == nullptr ? std::nullopt : std::optional(*text);
  }
  if (auto text = checkpoint.side_file("chat_template.jinja")) return text;
  const auto config = checkpoint.side_file("tokenizer_config.json");
  return config ? template_in(parse_json(*config, "tokenizer_config.json")) : std::nullopt;
}

std::unique_ptr<ChatTemplate> ChatTemplate::load(const Checkpoint& checkpoint, const std::string& path) {
  const std::optional<std::string> source = path.empty() ? source_of(checkpoint) : template_file(path);
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
  if (!parsed_->fault.empty()) fail(Fault::input, "{}", parsed_->fault);
  std::string text;
  try {
    text = parsed_->render(request);
  } catch (const Error& error) {
    const auto accepted = with_users_for_later_systems(request);
    if (!accepted) throw;
    try {
      text = parsed_->render(*accepted);
    } catch (const Error&) {
      throw error;
    }
  }
  if (request.value("enable_thinking", Json()) == false) close_thinking(text);
  return text;
}

std::vector<int32_t> ChatTemplate::encode(const Json& request, const Tokenizer& tokenizer) const {
  const PromptGuard guard(tokenizer);
  Json shielded = request;
  if (!guard.shield(shielded)) return tokenizer.encode(render(request), Marks::parse);
  return guard.encode(render(shielded));
}

}  // namespace flashmoe
