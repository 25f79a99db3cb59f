#include "base/error.h"
#include "text/tokenizer_parts.h"

namespace flashmoe {
namespace {

struct NamedPattern {
  std::string_view name;  // tokenizer.ggml.pre
  const char* pattern;
  bool nfc;
};

constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr NamedPattern kPatterns[] = {{"qwen2", kQwen2, true}, {"qwen35", kQwen35, true}};

// Values of tokenizer.ggml.token_type.
constexpr int64_t kControl = 3, kUserDefined = 4, kUnused = 5;

template <typename T>
const T* find(const Checkpoint& checkpoint, std::string_view key) {
  const auto& metadata = checkpoint.metadata();
  const auto found = metadata.find(key);
  if (found == metadata.end()) return nullptr;
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) fail(Fault::input, "{}: {} is of another type than expected", checkpoint.path(), key);
  return value;
}

template <typename T>
const T& need(const Checkpoint& checkpoint, std::string_view key) {
  const T* value = find<T>(checkpoint, key);
  if (value == nullptr) fail(Fault::input, "{}: {} is missing", checkpoint.path(), key);
  return *value;
}

const NamedPattern& pattern_of(const Checkpoint& checkpoint) {
  const auto& pre = need<std::string>(checkpoint, "tokenizer.ggml.pre");
  std::string known;
  for (const NamedPattern& candidate : kPatterns) {
    if (candidate.name == pre) return candidate;
    known += (known.empty() ? "" : ", ") + std::string(candidate.name);
  }
  fail(Fault::unsupported, "{}: tokenizer.ggml.pre is \"{}\"; this build knows {}", checkpoint.path(), pre, known);
}

void add_end_id(const Checkpoint& checkpoint, std::string_view key, std::vector<int64_t>& out) {
  const auto found = checkpoint.metadata().find(key);
  if (found == checkpoint.metadata().end()) return;
  if (const auto* id = std::get_if<uint64_t>(&found->second)) out.push_back(static_cast<int64_t>(*id));
  if (const auto* id = std::get_if<int64_t>(&found->second)) out.push_back(*id);
}

}  // namespace

TokenizerParts parts_from_gguf(const Checkpoint& checkpoint) {
  const auto& model = need<std::string>(checkpoint, "tokenizer.ggml.model");
  if (model != "gpt2") {
    fail(Fault::unsupported, "{}: tokenizer.ggml.model is \"{}\"; this build knows gpt2 (byte-level BPE)",
         checkpoint.path(), model);
  }
  const NamedPattern& pattern = pattern_of(checkpoint);
  TokenizerParts parts;
  parts.source = checkpoint.path();
  parts.nfc = pattern.nfc;
  parts.splits.push_back({pattern.pattern});
  parts.tokens = need<std::vector<std::string>>(checkpoint, "tokenizer.ggml.tokens");
  if (parts.tokens.size() > static_cast<size_t>(kMaxTokens)) {
    fail(Fault::input, "{}: {} tokens, at most {} are possible", parts.source, parts.tokens.size(), kMaxTokens);
  }
  std::vector<int64_t> types(parts.tokens.size(), 1);
  if (const auto* given = find<std::vector<int64_t>>(checkpoint, "tokenizer.ggml.token_type")) types = *given;
  if (types.size() != parts.tokens.size()) {
    fail(Fault::input, "{}: tokenizer.ggml.token_type has {} entries for {} tokens", parts.source, types.size(),
         parts.tokens.size());
  }
  TokenIds ids(parts.tokens.size());
  for (size_t i = 0; i < types.size(); ++i) {
    std::string& token = parts.tokens[i];
    if (types[i] == kUnused) token.clear();
    if (token.empty()) continue;
    const auto id = static_cast<int32_t>(i);
    if (const auto other = ids.add(token, id))
      fail(Fault::input, "{}: tokens {} and {} are both \"{}\"", parts.source, *other, id, token);
    if (types[i] == kControl || types[i] == kUserDefined) {
      parts.added.push_back({.text = token, .id = id, .special = types[i] == kControl});
    }
  }
  const auto& merges = need<std::vector<std::string>>(checkpoint, "tokenizer.ggml.merges");
  parts.merges.reserve(merges.size());
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      fail(Fault::input, "{}: merge {} is \"{}\", not two tokens with a space between", parts.source,
           &merge - merges.data(), merge);
    }
    // Cut-down vocabularies keep merges whose tokens are gone: they can never apply.
    const std::string_view both = merge;
    if (const auto rule = merge_rule(ids, both.substr(0, space), both.substr(space + 1))) parts.merges.push_back(*rule);
  }
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    add_end_id(checkpoint, key, parts.end_ids);
  }
  return parts;
}

}  // namespace flashmoe
