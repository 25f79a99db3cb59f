// The parts JSON is made of, as steps of an automaton. Each function adds what may stand between two nodes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "sampling/grammar/automaton.h"

namespace flashmoe {

class JsonValues {
 public:
  static constexpr int kIndent = 40;         // spaces that may follow a line break
  static constexpr int kIntegerDigits = 18;  // of a number without bounds; what 64 bits hold
  static constexpr int kNumberDigits = 15;   // what a double holds; of the whole part, and of the fraction
  static constexpr int kExponentDigits = 2;

  explicit JsonValues(Automaton& automaton) : a_(automaton) {}

  void literal(Node from, std::string_view bytes, Node to);
  // One of these; common beginnings share nodes.
  void literals(Node from, std::span<const std::string> all, Node to);
  // A node before white space as models write it, nothing, a space, or a line break with an indentation, and `to`.
  Node space_before(Node to);
  // A string with its quotes, of `least` to `most` characters (Automaton::kUnlimited).
  void text(Node from, int32_t least, int32_t most, Node to);
  void integer(Node from, Node to);
  void number(Node from, Node to);
  void boolean(Node from, Node to);
  void null(Node from, Node to) { literal(from, "null", to); }
  void any_value(Node from, Node to);

  // Rules behind an opening bracket.
  int32_t any_object();
  int32_t any_array();

 private:
  Node inside_text(int32_t least, int32_t most, Node after);
  void digits(Node from, int most, Node to);  // 1 to `most`
  void whole(Node from, int most, Node to);   // likewise, no 0 before another digit

  Automaton& a_;
  int32_t any_object_ = -1, any_array_ = -1;
};

}  // namespace flashmoe
