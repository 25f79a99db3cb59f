// A vocabulary, arranged so that a grammar can tell quickly which of its tokens may come next.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flashmoe {

struct TokenTable {
  std::span<const std::string_view> bytes;  // [n_tokens] what each token stands for
  std::span<const uint8_t> added;           // [n_tokens] not 0: an added token, only where a grammar names it
  std::span<const int32_t> ends;            // the tokens that end an answer
};

// Built once for a tokenizer; immutable, any number of threads. About 12 bytes for each distinct beginning of a token.
class TokenTrie {
 public:
  // Throws Error{input} when the spans do not fit each other or an end is out of range.
  explicit TokenTrie(const TokenTable& table);

  // In the order of their bytes, a node directly before those that continue it.
  struct Node {
    int32_t end;    // the node behind all that continue this one
    int32_t token;  // the first token that is spelled so, or -1
    uint16_t depth;
    uint8_t byte;
  };
  // A place in the trie where a JSON string is closed whose inside began with the token.
  struct Quote {
    int32_t node;
    int32_t n_characters;  // before it
  };
  // A token that may stand inside a JSON string, begun between two characters.
  struct Inside {
    int32_t n_characters;  // begun
    int32_t token;
  };

  int32_t size() const { return static_cast<int32_t>(bytes_.size()); }
  std::string_view bytes(int32_t token) const { return bytes_[static_cast<size_t>(token)]; }
  bool is_added(int32_t token) const { return added_[static_cast<size_t>(token)] != 0; }
  bool is_end(int32_t token) const { return is_end_[static_cast<size_t>(token)] != 0; }
  std::span<const int32_t> ends() const { return ends_; }
  std::optional<int32_t> added_token(std::string_view text) const;
  std::span<const Node> nodes() const { return nodes_; }
  int max_depth() const { return max_depth_; }
  // The next token spelled like this one, or -1.
  int32_t next_same(int32_t token) const { return next_same_[static_cast<size_t>(token)]; }
  // The bytes that are tokens by themselves.
  const std::bitset<256>& single_bytes() const { return single_bytes_; }

  // All three are empty where not every printable ASCII character and every byte of a longer one is a token by itself.
  std::span<const uint64_t> inside_bits() const { return inside_bits_; }  // bit t of word t / 64: in `insides`
  std::span<const Inside> insides() const { return insides_; }            // fewest characters first
  std::span<const Quote> quotes() const { return quotes_; }

 private:
  void build_nodes();
  void index_strings();

  std::vector<std::string> bytes_;
  std::vector<uint8_t> added_, is_end_;
  std::vector<int32_t> ends_, next_same_;
  std::unordered_map<std::string, int32_t> added_tokens_;
  std::vector<Node> nodes_;
  int max_depth_ = 0;
  std::bitset<256> single_bytes_;
  std::vector<uint64_t> inside_bits_;
  std::vector<Inside> insides_;
  std::vector<Quote> quotes_;
};

}  // namespace flashmoe
