// What tokenizer.json and GGUF metadata both come down to.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"
#include "text/token_ids.h"
#include "text/tokenizer.h"

namespace flashmoe {

struct TokenizerParts {
  std::string source;               // named in complaints
  std::vector<std::string> tokens;  // [size] in the byte alphabet; empty where an id is not used
  std::vector<MergeRule> merges;    // first to last
  std::vector<AddedToken> added;    // their ids may lie beyond `tokens`
  std::vector<PreTokenizer::Split> splits;
  bool nfc = false;
  bool ignore_merges = false;    // a piece that is a token is that token
  std::vector<int64_t> end_ids;  // that end a turn, as the checkpoint says; those out of range are ignored
  int64_t least_size = 0;        // ids up to here exist even without text
};

inline constexpr int64_t kMaxTokens = int64_t{1} << 24;

// The merge of two tokens into the token that joins their texts; nothing when one of the three is not in the
// vocabulary.
std::optional<MergeRule> merge_rule(const TokenIds& ids, std::string_view left, std::string_view right);

TokenizerParts parts_from_json(std::string_view tokenizer_json, const std::string& source);
TokenizerParts parts_from_gguf(const Checkpoint& checkpoint);
// Of any checkpoint, with the ids that end a turn; nothing when it has no tokenizer.
std::optional<TokenizerParts> parts_of(const Checkpoint& checkpoint);
// The same as metadata tokenizer.ggml.*, from which parts_from_gguf makes the same tokenizer. Throws Error{unsupported}
// for what that cannot say.
std::map<std::string, MetaValue, std::less<>> metadata_of(const TokenizerParts& parts);

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerParts parts);

}  // namespace flashmoe
