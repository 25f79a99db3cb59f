#include "text/tokenizer.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"

namespace flashmoe {
namespace {

// Longer pieces seldom come twice.
constexpr size_t kLongestRemembered_bytes = 32;

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, Marks marks) const override;
  std::string_view bytes(int32_t id) const override;
  bool is_special(int32_t id) const override { return has(id, kSpecial); }
  bool ends_turn(int32_t id) const override { return has(id, kEndsTurn); }
  std::optional<int32_t> id_of(std::string_view token) const override;
  int32_t size() const override { return static_cast<int32_t>(flags_.size()); }
  const std::vector<std::string>& added_tokens() const override { return added_texts_; }

 private:
  enum Flag : uint8_t { kSpecial = 1, kEndsTurn = 2, kAdded = 4 };
  struct Encoding;

  bool has(int32_t id, Flag flag) const {
    return id >= 0 && id < size() && (flags_[static_cast<size_t>(id)] & flag) != 0;
  }
  void keep_texts(const TokenizerParts& parts);
  void keep_added(const TokenizerParts& parts);
  void encode_text(std::string_view text, Encoding& encoding) const;
  void encode_piece(std::string_view piece, Encoding& encoding) const;
  std::string_view normalise(std::string_view text, std::deque<std::string>& storage) const;

  std::string texts_;              // bytes of all tokens, one after the other
  std::vector<uint32_t> offsets_;  // [size + 1] into texts_
  std::vector<uint8_t> flags_;     // [size]
  std::vector<std::string> added_texts_;
  std::unordered_map<std::string_view, int32_t> added_ids_;     // keys are in texts_
  std::unordered_map<std::string_view, int32_t> whole_pieces_;  // with ignore_merges; keys are in texts_
  bool nfc_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<Bpe> bpe_;
  std::unique_ptr<AddedTokenFinder> raw_, normalised_;
};

// The state of one call of encode.
struct ByteLevelTokenizer::Encoding {
  struct Range {
    size_t begin, end;  // in ids
  };
  std::vector<int32_t> ids;
  std::unordered_map<std::string_view, Range> seen;  // where a piece was encoded before
  std::vector<std::string_view> pieces;
  std::deque<std::string> storage;  // what the views point into
  Bpe::Scratch scratch;
};

std::array<int32_t, 256> ids_of_bytes(const TokenizerParts& parts) {
  std::array<int32_t, 256> ids{};
  ids.fill(-1);
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    const std::string& token = parts.tokens[id];
    if (token.empty() || token.size() > 2 || !is_byte_level(token)) continue;
    const std::string bytes = bytes_of_token(token);
    if (bytes.size() != 1) continue;
    int32_t& slot = ids[static_cast<unsigned char>(bytes[0])];
    if (slot < 0) slot = static_cast<int32_t>(id);
  }
  for (size_t byte = 0; byte < ids.size(); ++byte) {
    if (ids[byte] < 0) {
      fail(Fault::input, "{}: the vocabulary has no token for byte 0x{:02x}; all 256 are needed", parts.source, byte);
    }
  }
  return ids;
}

ByteLevelTokenizer::ByteLevelTokenizer(TokenizerParts parts) : nfc_(parts.nfc), pre_tokenizer_(parts.splits) {
  int64_t n = std::max(parts.least_size, static_cast<int64_t>(parts.tokens.size()));
  for (const AddedToken& token : parts.added) n = std::max(n, int64_t{token.id} + 1);
  if (n > kMaxTokens) fail(Fault::input, "{}: {} tokens, at most {} are possible", parts.source, n, kMaxTokens);
  flags_.resize(static_cast<size_t>(n));
  keep_added(parts);
  keep_texts(parts);
  // Text stays text: no merge may lead to a control token. Where control tokens are parsed no such merge could happen,
  // for the token itself is found first; but not in the middle of a word if it is a `single_word`.
  std::vector<bool> is_out_of_reach(static_cast<size_t>(n));
  for (const AddedToken& token : parts.added) {
    is_out_of_reach[static_cast<size_t>(token.id)] = token.special && !token.single_word;
  }
  std::erase_if(parts.merges, [&](const MergeRule& rule) { return is_out_of_reach[static_cast<size_t>(rule.result)]; });
  bpe_ = std::make_unique<Bpe>(ids_of_bytes(parts), parts.merges);
  for (const char* mark : {"<|im_end|>", "<|endoftext|>"}) {
    if (const auto id = id_of(mark)) parts.end_ids.push_back(*id);
  }
  for (const int64_t id : parts.end_ids) {
    if (id >= 0 && id < n) flags_[static_cast<size_t>(id)] |= kEndsTurn;
  }
}

void ByteLevelTokenizer::keep_added(const TokenizerParts& parts) {
  std::vector<AddedToken> raw, normalised;
  std::vector<std::string> raw_texts, normalised_texts;
  for (const AddedToken& token : parts.added) {
    auto& flags = flags_[static_cast<size_t>(token.id)];
    if ((flags & kAdded) != 0) fail(Fault::input, "{}: two added tokens have the id {}", parts.source, token.id);
    flags = static_cast<uint8_t>(kAdded | (token.special ? kSpecial : 0));
    added_texts_.push_back(token.text);
    (token.normalized ? normalised : raw).push_back(token);
    std::deque<std::string> storage;
    const std::string_view text = token.normalized ? normalise(token.text, storage) : token.text;
    (token.normalized ? normalised_texts : raw_texts).emplace_back(text);
  }
  raw_ = std::make_unique<AddedTokenFinder>(raw, raw_texts);
  normalised_ = std::make_unique<AddedTokenFinder>(normalised, normalised_texts);
}

void ByteLevelTokenizer::keep_texts(const TokenizerParts& parts) {
  std::vector<const AddedToken*> added(flags_.size(), nullptr);
  for (const AddedToken& token : parts.added) added[static_cast<size_t>(token.id)] = &token;
  offsets_.reserve(flags_.size() + 1);
  offsets_.push_back(0);
  for (size_t id = 0; id < flags_.size(); ++id) {
    if (added[id] != nullptr) {
      texts_ += added[id]->text;
    } else if (id < parts.tokens.size()) {
      texts_ += bytes_of_token(parts.tokens[id]);
    }
    if (texts_.size() > UINT32_MAX) fail(Fault::input, "{}: the tokens' texts exceed 4 GiB", parts.source);
    offsets_.push_back(static_cast<uint32_t>(texts_.size()));
  }
  for (const AddedToken& token : parts.added) {
    if (!added_ids_.emplace(bytes(token.id), token.id).second) {
      fail(Fault::input, "{}: the added token \"{}\" is there twice", parts.source, token.text);
    }
  }
  if (!parts.ignore_merges) return;
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    // A token outside the byte alphabet stands for itself and is no piece of text.
    const std::string_view text = bytes(static_cast<int32_t>(id));
    if (text.empty() || added[id] != nullptr || !is_byte_level(parts.tokens[id])) continue;
    whole_pieces_.emplace(text, static_cast<int32_t>(id));
  }
}

std::string_view ByteLevelTokenizer::bytes(int32_t id) const {
  if (id < 0 || id >= size()) fail(Fault::input, "token id {} is out of range: ids are 0 to {}", id, size() - 1);
  const size_t begin = offsets_[static_cast<size_t>(id)];
  return std::string_view(texts_).substr(begin, offsets_[static_cast<size_t>(id) + 1] - begin);
}

std::optional<int32_t> ByteLevelTokenizer::id_of(std::string_view token) const {
  const auto found = added_ids_.find(token);
  if (found == added_ids_.end()) return std::nullopt;
  return found->second;
}

std::string_view ByteLevelTokenizer::normalise(std::string_view text, std::deque<std::string>& storage) const {
  if (!nfc_) return text;
  std::string composed;
  const std::string_view result = nfc(text, composed);
  if (result.data() == text.data()) return text;
  return storage.emplace_back(std::move(composed));
}

void ByteLevelTokenizer::encode_piece(std::string_view piece, Encoding& encoding) const {
  auto& ids = encoding.ids;
  if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    ids.push_back(whole->second);
    return;
  }
  const size_t begin = ids.size();
  if (piece.size() > kLongestRemembered_bytes) return bpe_->encode(piece, encoding.scratch, ids);
  const auto [seen, is_new] = encoding.seen.try_emplace(piece);
  if (is_new) {
    bpe_->encode(piece, encoding.scratch, ids);
    seen->second = {begin, ids.size()};
    return;
  }
  for (size_t i = seen->second.begin; i < seen->second.end; ++i) {
    const int32_t id = ids[i];
    ids.push_back(id);
  }
}

void ByteLevelTokenizer::encode_text(std::string_view text, Encoding& encoding) const {
  encoding.pieces.clear();
  pre_tokenizer_.split(text, encoding.pieces);
  for (const std::string_view piece : encoding.pieces) encode_piece(piece, encoding);
}

std::vector<int32_t> ByteLevelTokenizer::encode(std::string_view text, Marks marks) const {
  Encoding encoding;
  text = valid_utf8(text, encoding.storage.emplace_back());
  if (marks == Marks::as_text) {
    encode_text(normalise(text, encoding.storage), encoding);
    return std::move(encoding.ids);
  }
  std::vector<AddedSpan> spans, inner;
  raw_->split(text, spans);
  for (const AddedSpan& span : spans) {
    if (span.id >= 0) {
      encoding.ids.push_back(span.id);
      continue;
    }
    inner.clear();
    normalised_->split(normalise(span.text, encoding.storage), inner);
    for (const AddedSpan& part : inner) {
      if (part.id >= 0) {
        encoding.ids.push_back(part.id);
      } else {
        encode_text(part.text, encoding);
      }
    }
  }
  return std::move(encoding.ids);
}

// End ids are a number or a list of numbers.
void add_end_ids(const nlohmann::json& json, std::vector<int64_t>& out) {
  if (!json.is_object()) return;
  const auto found = json.find("eos_token_id");
  if (found == json.end()) return;
  const auto add = [&](const nlohmann::json& id) {
    if (id.is_number_integer()) out.push_back(id.get<int64_t>());
  };
  if (found->is_array()) {
    for (const auto& id : *found) add(id);
  } else {
    add(*found);
  }
}

void read_config(const nlohmann::json& config, TokenizerParts& parts) {
  add_end_ids(config, parts.end_ids);
  if (!config.is_object()) return;
  const auto text_config = config.find("text_config");
  const nlohmann::json& text = text_config == config.end() ? config : *text_config;
  if (&text != &config) add_end_ids(text, parts.end_ids);
  if (!text.is_object()) return;
  const auto vocab_size = text.find("vocab_size");
  if (vocab_size == text.end() || !vocab_size->is_number_integer()) return;
  parts.least_size = std::clamp<int64_t>(vocab_size->get<int64_t>(), 0, kMaxTokens);
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerParts parts) {
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

std::unique_ptr<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json) {
  return make_tokenizer(parts_from_json(tokenizer_json, "tokenizer.json"));
}

std::optional<TokenizerParts> parts_of(const Checkpoint& checkpoint) {
  if (checkpoint.dialect() == Dialect::gguf) {
    const auto model = checkpoint.metadata().find("tokenizer.ggml.model");
    if (model == checkpoint.metadata().end()) return std::nullopt;
    const auto* name = std::get_if<std::string>(&model->second);
    if (name != nullptr && (*name == "no_vocab" || *name == "none")) return std::nullopt;
    return parts_from_gguf(checkpoint);
  }
  const auto json = checkpoint.side_file("tokenizer.json");
  if (!json) return std::nullopt;
  TokenizerParts parts = parts_from_json(*json, checkpoint.path() + "/tokenizer.json");
  read_config(checkpoint.config(), parts);
  if (const auto generation = checkpoint.side_file("generation_config.json")) {
    const auto parsed = nlohmann::json::parse(*generation, nullptr, false);
    if (parsed.is_discarded()) fail(Fault::input, "{}/generation_config.json is not JSON", checkpoint.path());
    add_end_ids(parsed, parts.end_ids);
  }
  return parts;
}

std::unique_ptr<Tokenizer> Tokenizer::load(const Checkpoint& checkpoint) {
  std::optional<TokenizerParts> parts = parts_of(checkpoint);
  return parts ? make_tokenizer(std::move(*parts)) : nullptr;
}

}  // namespace flashmoe
