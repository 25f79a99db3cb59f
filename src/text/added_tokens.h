// Added tokens: texts that stand for one token each and are found before the text is split.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

struct AddedToken {
  std::string text;
  int32_t id = 0;
  bool special = false;      // dropped from output
  bool normalized = false;   // looked for in the normalised text
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool single_word = false;  // only where no word character touches it
};

// A stretch of text: one added token, or (id < 0) text between them.
struct AddedSpan {
  int32_t id;
  std::string_view text;
};

// Finds a set of added tokens in a text, leftmost first and the longest of those that start at one place.
class AddedTokenFinder {
 public:
  // Looks for texts[i] as tokens[i]; empty texts are ignored. A repeated text counts once, for the last of its tokens.
  AddedTokenFinder(std::span<const AddedToken> tokens, std::span<const std::string> texts);

  // Appends the spans of `text` in order.
  void split(std::string_view text, std::vector<AddedSpan>& out) const;

 private:
  struct Edge {
    unsigned char byte;
    uint32_t node;
  };
  struct Node {
    int32_t token = -1;  // index into tokens_
    std::vector<Edge> edges;
  };
  struct Match {
    int32_t token;
    size_t length;
  };
  uint32_t child(uint32_t node, unsigned char byte) const;
  Match match_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;  // a trie; node 0 is its root
  bool starts_token_[256] = {};
};

}  // namespace flashmoe
