#include <algorithm>

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
constexpr int64_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;
constexpr const char* kEndKeys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                    "tokenizer.ggml.eom_token_id"};

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
  for (const char* key : kEndKeys) add_end_id(checkpoint, key, parts.end_ids);
  return parts;
}

std::map<std::string, MetaValue, std::less<>> metadata_of(const TokenizerParts& parts) {
  const auto* pattern = std::find_if(std::begin(kPatterns), std::end(kPatterns), [&](const NamedPattern& known) {
    return parts.splits.size() == 1 && !parts.splits[0].literal && parts.splits[0].pattern == known.pattern &&
           parts.nfc == known.nfc;
  });
  if (pattern == std::end(kPatterns) || parts.ignore_merges) {
    fail(Fault::unsupported, "{}: GGUF has no name for how this tokenizer splits text", parts.source);
  }
  std::vector<std::string> tokens = parts.tokens;
  int64_t n = std::max(parts.least_size, static_cast<int64_t>(tokens.size()));
  for (const AddedToken& token : parts.added) n = std::max(n, int64_t{token.id} + 1);
  if (n > kMaxTokens) fail(Fault::input, "{}: {} tokens, at most {} are possible", parts.source, n, kMaxTokens);
  tokens.resize(static_cast<size_t>(n));
  std::vector<int64_t> types(tokens.size(), kNormal);
  for (const AddedToken& token : parts.added) {
    if (token.lstrip || token.rstrip || token.single_word) {
      fail(Fault::unsupported, "{}: the added token \"{}\" takes spaces in or stands alone, which GGUF cannot say",
           parts.source, token.text);
    }
    const auto id = static_cast<size_t>(token.id);
    tokens[id] = token.text;
    types[id] = token.special ? kControl : kUserDefined;
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) continue;
    tokens[id] = fmt::format("[PAD{}]", id);
    types[id] = kUnused;
  }
  std::vector<std::string> merges;
  for (const MergeRule& rule : parts.merges) {
    merges.push_back(parts.tokens[static_cast<size_t>(rule.left)] + " " +
                     parts.tokens[static_cast<size_t>(rule.right)]);
  }
  std::map<std::string, MetaValue, std::less<>> metadata;
  metadata["tokenizer.ggml.model"] = "gpt2";
  metadata["tokenizer.ggml.pre"] = std::string(pattern->name);
  metadata["tokenizer.ggml.tokens"] = std::move(tokens);
  metadata["tokenizer.ggml.token_type"] = std::move(types);
  metadata["tokenizer.ggml.merges"] = std::move(merges);
  metadata["tokenizer.ggml.add_bos_token"] = false;
  std::vector<int64_t> ends;
  for (const int64_t id : parts.end_ids) {
    if (id >= 0 && id < n && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
  for (size_t i = 0; i < std::min(ends.size(), std::size(kEndKeys)); ++i) {
    metadata[kEndKeys[i]] = static_cast<uint64_t>(ends[i]);
  }
  return metadata;
}

}  // namespace flashmoe
