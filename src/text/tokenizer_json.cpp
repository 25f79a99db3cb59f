#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/tokenizer_document.h"
#include "text/tokenizer_parts.h"

namespace flashmoe {

namespace {

using nlohmann::json;

// What ByteLevel with use_regex splits by.
constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class JsonReader {
 public:
  JsonReader(std::string_view text, const std::string& source)
      : document_(TokenizerDocument::parse(text, source)), root_(document_.rest), ids_(document_.vocab.size()) {
    parts_.source = source;
    if (!root_.is_object()) bad("is not a JSON object");
  }

  TokenizerParts run() {
    read_model();
    read_normalizer(member(root_, "normalizer"));
    read_pre_tokenizer(member(root_, "pre_tokenizer"));
    if (!splits_bytes_) unsupported("pre_tokenizer", "one without ByteLevel");
    read_added();
    return std::move(parts_);
  }

 private:
  [[noreturn]] void bad(std::string_view what) const { fail(Fault::input, "{} {}", parts_.source, what); }
  [[noreturn]] void unsupported(std::string_view part, std::string_view kind) const {
    fail(Fault::unsupported, "{}: {} of kind \"{}\" is not supported; byte-level BPE is", parts_.source, part, kind);
  }

  // Null when it is not there.
  static const json& member(const json& object, const char* key) {
    static const json kNull;
    if (!object.is_object()) return kNull;
    const auto found = object.find(key);
    return found == object.end() ? kNull : *found;
  }

  std::string kind_of(const json& part, std::string_view name) const {
    const json& type = member(part, "type");
    if (!type.is_string()) bad(fmt::format("has a {} without a type", name));
    return type.get<std::string>();
  }

  bool flag(const json& object, const char* key, bool otherwise) const {
    const json& value = member(object, key);
    if (value.is_null()) return otherwise;
    if (!value.is_boolean()) bad(fmt::format("has a \"{}\" that is not true or false", key));
    return value.get<bool>();
  }

  int32_t token_id(int64_t id, std::string_view token) const {
    if (id < 0 || id >= kMaxTokens)
      bad(fmt::format("gives \"{}\" the id {}: ids are 0 to {}", token, id, kMaxTokens - 1));
    return static_cast<int32_t>(id);
  }

  void read_model();
  void read_vocab();
  void read_merges();
  void read_normalizer(const json& part);
  void read_pre_tokenizer(const json& part);
  void read_split(const json& part);
  void read_added();

  TokenizerDocument document_;
  const json& root_;
  TokenizerParts parts_;
  TokenIds ids_;  // of texts in document_
  bool splits_bytes_ = false;
};

void JsonReader::read_model() {
  const json& model = member(root_, "model");
  if (!model.is_object()) bad("has no \"model\"");
  const json& type = member(model, "type");
  const bool looks_like_bpe = type.is_null() && document_.has_merges;
  if (!looks_like_bpe && kind_of(model, "model") != "BPE") unsupported("model", kind_of(model, "model"));
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = member(model, key);
    if (!value.is_null() && value != "") unsupported("model", fmt::format("BPE with {}", key));
  }
  const json& dropout = member(model, "dropout");
  if (!dropout.is_null() && dropout != 0.0) unsupported("model", "BPE with dropout");
  if (flag(model, "byte_fallback", false)) unsupported("model", "BPE with byte_fallback");
  parts_.ignore_merges = flag(model, "ignore_merges", false);
  read_vocab();
  read_merges();
}

void JsonReader::read_vocab() {
  if (!document_.has_vocab) bad("has no \"vocab\" object in its model");
  for (const auto& [token, id] : document_.vocab) {
    const auto at = static_cast<size_t>(token_id(id, token));
    if (ids_.add(token, static_cast<int32_t>(id))) bad(fmt::format("has the token \"{}\" twice", token));
    if (at >= parts_.tokens.size()) parts_.tokens.resize(at + 1);
    std::string& slot = parts_.tokens[at];
    if (!slot.empty()) bad(fmt::format("gives both \"{}\" and \"{}\" the id {}", slot, token, id));
    slot = token;
  }
}

void JsonReader::read_merges() {
  if (!document_.has_merges) bad("has no \"merges\" list in its model");
  const auto& merges = document_.merges;
  parts_.merges.reserve(merges.size() / 2);
  for (size_t i = 0; i + 1 < merges.size(); i += 2) {
    const auto rule = merge_rule(ids_, merges[i], merges[i + 1]);
    if (!rule) {
      bad(fmt::format("has merge {} (\"{}\" with \"{}\"), of which a part or the result is not in the vocabulary",
                      i / 2, merges[i], merges[i + 1]));
    }
    parts_.merges.push_back(*rule);
  }
}

void JsonReader::read_normalizer(const json& part) {
  if (part.is_null()) return;
  const std::string kind = kind_of(part, "normalizer");
  if (kind == "NFC") {
    parts_.nfc = true;
  } else if (kind == "Sequence") {
    for (const json& inner : member(part, "normalizers")) read_normalizer(inner);
  } else {
    unsupported("normalizer", kind);
  }
}

void JsonReader::read_pre_tokenizer(const json& part) {
  if (part.is_null()) return;
  const std::string kind = kind_of(part, "pre_tokenizer");
  if (splits_bytes_) unsupported("pre_tokenizer", kind + " after ByteLevel");
  if (kind == "Sequence") {
    for (const json& inner : member(part, "pretokenizers")) read_pre_tokenizer(inner);
  } else if (kind == "Split") {
    read_split(part);
  } else if (kind == "ByteLevel") {
    if (flag(part, "add_prefix_space", true)) unsupported("pre_tokenizer", "ByteLevel with add_prefix_space");
    if (flag(part, "use_regex", true)) parts_.splits.push_back({kGpt2Pattern});
    splits_bytes_ = true;
  } else {
    unsupported("pre_tokenizer", kind);
  }
}

void JsonReader::read_split(const json& part) {
  const json& behavior = member(part, "behavior");
  if (behavior != "Isolated") unsupported("pre_tokenizer", fmt::format("Split with behavior {}", behavior.dump()));
  const json& pattern = member(part, "pattern");
  const json& regex = member(pattern, "Regex");
  const json& literal = member(pattern, "String");
  if (regex.is_string()) {
    parts_.splits.push_back({regex.get<std::string>()});
  } else if (literal.is_string()) {
    parts_.splits.push_back({literal.get<std::string>(), true});
  } else {
    bad("has a Split without a pattern");
  }
}

void JsonReader::read_added() {
  const json& added = member(root_, "added_tokens");
  if (added.is_null()) return;
  if (!added.is_array()) bad("has \"added_tokens\" that are not a list");
  for (const json& entry : added) {
    const json& content = member(entry, "content");
    if (!content.is_string()) bad("has an added token without \"content\"");
    AddedToken token;
    token.text = content.get<std::string>();
    const json& given = member(entry, "id");
    if (!given.is_number_integer()) bad(fmt::format("gives \"{}\" an id that is not a whole number", token.text));
    token.id = token_id(given.get<int64_t>(), token.text);
    token.special = flag(entry, "special", false);
    token.normalized = flag(entry, "normalized", !token.special);
    token.lstrip = flag(entry, "lstrip", false);
    token.rstrip = flag(entry, "rstrip", false);
    token.single_word = flag(entry, "single_word", false);
    if (token.text.empty()) continue;
    const auto id = static_cast<size_t>(token.id);
    const bool is_other = id < parts_.tokens.size() && !parts_.tokens[id].empty() && parts_.tokens[id] != token.text;
    if (is_other) bad(fmt::format("gives both \"{}\" and \"{}\" the id {}", parts_.tokens[id], token.text, id));
    const auto in_vocab = ids_.find(token.text);
    if (in_vocab && *in_vocab != token.id) {
      bad(fmt::format("gives \"{}\" the ids {} and {}", token.text, *in_vocab, token.id));
    }
    parts_.added.push_back(std::move(token));
  }
}

}  // namespace

std::optional<MergeRule> merge_rule(const TokenIds& ids, std::string_view left, std::string_view right) {
  std::string joined;
  joined.reserve(left.size() + right.size());
  joined.append(left).append(right);
  const auto left_id = ids.find(left), right_id = ids.find(right), result = ids.find(joined);
  if (!left_id || !right_id || !result) return std::nullopt;
  return MergeRule{*left_id, *right_id, *result};
}

TokenizerParts parts_from_json(std::string_view tokenizer_json, const std::string& source) {
  return JsonReader(tokenizer_json, source).run();
}

}  // namespace flashmoe
