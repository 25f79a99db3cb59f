// Sets of texts as automata over characters, and how they become bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/automaton.h"

namespace flashmoe {

// Deterministic; state 0 is the start. Edges of a state are sorted and do not overlap.
struct CharDfa {
  static constexpr char32_t kLast = 0x10FFFF;
  static constexpr size_t kMaxStates = 4000;

  struct Edge {
    char32_t low, high;
    int32_t to;
  };
  struct State {
    std::vector<Edge> edges;
    bool accepts = false;
  };
  std::vector<State> states;

  // Takes away the states from which none that accepts can be reached. False when nothing is accepted.
  bool trim();
  bool accepts(std::string_view utf8) const;
};

// The character at `at`, which moves behind it. The text is valid UTF-8.
char32_t take_character(std::string_view text, size_t& at);

// All texts of `least` to `most` characters (Automaton::kUnlimited).
CharDfa texts_of_length(int32_t least, int32_t most);
// All texts but these.
CharDfa all_but(const std::vector<std::string>& texts);
// The texts of both. Empty states when that takes more than kMaxStates.
CharDfa intersection(const CharDfa& a, const CharDfa& b);

enum class TextForm {
  json,  // inside a string: escapes where JSON demands them, and nowhere else; no other control characters
  raw    // as it is, but for control characters other than tab and line breaks; never a text of kForbiddenInRaw
};

// Adds the steps of the texts between two nodes.
void add_texts(Automaton& automaton, const CharDfa& dfa, TextForm form, Node from, Node to);

// What would end a parameter of a tool call, or hide the call from its reader.
inline constexpr std::string_view kForbiddenInRaw[] = {"</parameter>", "</think>"};

}  // namespace flashmoe
