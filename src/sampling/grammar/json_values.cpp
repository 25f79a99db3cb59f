#include "sampling/grammar/json_values.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "sampling/grammar/text_phase.h"

namespace flashmoe {

void JsonValues::literal(Node from, std::string_view bytes, Node to) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    const Node next = i + 1 == bytes.size() ? to : a_.add_node();
    const auto byte = static_cast<uint8_t>(bytes[i]);
    a_.add_bytes(from, byte, byte, next);
    from = next;
  }
  if (bytes.empty()) a_.add_empty(from, to);
}

void JsonValues::literals(Node from, std::span<const std::string> all, Node to) {
  std::map<std::pair<Node, char>, Node> next;
  const Node first = a_.add_node();
  a_.add_empty(from, first);
  for (const std::string& bytes : all) {
    Node node = first;
    for (const char c : bytes) {
      const auto [found, is_new] = next.try_emplace({node, c}, 0);
      if (is_new) {
        found->second = a_.add_node();
        a_.add_bytes(node, static_cast<uint8_t>(c), static_cast<uint8_t>(c), found->second);
      }
      node = found->second;
    }
    a_.add_empty(node, to);
  }
}

Node JsonValues::space_before(Node to) {
  const Node from = a_.add_node();
  a_.add_empty(from, to);
  a_.add_bytes(from, ' ', ' ', to);
  Node indent = a_.add_node();
  a_.add_bytes(from, '\n', '\n', indent);
  for (int i = 0; i < kIndent; ++i) {
    a_.add_empty(indent, to);
    const Node next = a_.add_node();
    a_.add_bytes(indent, ' ', ' ', next);
    indent = next;
  }
  a_.add_empty(indent, to);
  return from;
}

void JsonValues::text(Node from, int32_t least, int32_t most, Node to) {
  a_.add_bytes(from, '"', '"', inside_text(least, most, to));
}

Node JsonValues::inside_text(int32_t least, int32_t most, Node after) {
  const bool limited = most != Automaton::kUnlimited;
  const int32_t last = limited ? most : least;
  Node node = a_.add_node();
  const Node first = node;
  for (int32_t count = 0; count <= last; ++count) {
    a_.set_text(node, {std::max(0, least - count), limited ? most - count : most, after});
    if (count >= least) a_.add_bytes(node, '"', '"', after);
    if (limited && count == most) break;
    const Node next = count == last ? node : a_.add_node();
    // What is inside a character that ends at `next`.
    std::array<Node, TextPhase::n_phases> phases{};
    phases[TextPhase::between] = next;
    for (size_t phase = 1; phase < phases.size(); ++phase) phases[phase] = a_.add_node();
    for (size_t phase = 0; phase < phases.size(); ++phase) {
      const auto& row = kTextPhases[phase];
      for (size_t low = 0, end = 0; low < row.size(); low = end) {
        end = low + 1;
        while (end < row.size() && row[end] == row[low]) ++end;
        if (row[low] < TextPhase::between) continue;
        a_.add_bytes(phase == 0 ? node : phases[phase], static_cast<uint8_t>(low), static_cast<uint8_t>(end - 1),
                     phases[static_cast<size_t>(row[low])]);
      }
    }
    node = next;
  }
  return first;
}

void JsonValues::digits(Node from, int most, Node to) {
  for (int i = 0; i < most; ++i) {
    const Node next = a_.add_node();
    a_.add_bytes(from, '0', '9', next);
    a_.add_empty(next, to);
    from = next;
  }
}

void JsonValues::whole(Node from, int most, Node to) {
  a_.add_bytes(from, '0', '0', to);
  const Node rest = a_.add_node();
  a_.add_bytes(from, '1', '9', rest);
  a_.add_empty(rest, to);
  digits(rest, most - 1, to);
}

void JsonValues::integer(Node from, Node to) {
  whole(from, kIntegerDigits, to);
  const Node negative = a_.add_node(), rest = a_.add_node();
  a_.add_bytes(from, '-', '-', negative);
  a_.add_bytes(negative, '1', '9', rest);
  a_.add_empty(rest, to);
  digits(rest, kIntegerDigits - 1, to);
}

void JsonValues::number(Node from, Node to) {
  const Node magnitude = a_.add_node(), behind_whole = a_.add_node(), behind_fraction = a_.add_node();
  a_.add_empty(from, magnitude);
  a_.add_bytes(from, '-', '-', magnitude);
  whole(magnitude, kNumberDigits, behind_whole);
  a_.add_empty(behind_whole, behind_fraction);
  const Node point = a_.add_node(), exponent = a_.add_node(), sign = a_.add_node();
  a_.add_bytes(behind_whole, '.', '.', point);
  digits(point, kNumberDigits, behind_fraction);
  a_.add_empty(behind_fraction, to);
  a_.add_bytes(behind_fraction, 'e', 'e', exponent);
  a_.add_bytes(behind_fraction, 'E', 'E', exponent);
  a_.add_empty(exponent, sign);
  a_.add_bytes(exponent, '+', '+', sign);
  a_.add_bytes(exponent, '-', '-', sign);
  digits(sign, kExponentDigits, to);
}

void JsonValues::boolean(Node from, Node to) {
  literal(from, "true", to);
  literal(from, "false", to);
}

void JsonValues::any_value(Node from, Node to) {
  text(from, 0, Automaton::kUnlimited, to);
  number(from, to);
  boolean(from, to);
  null(from, to);
  a_.add_call(from, '{', any_object(), to);
  a_.add_call(from, '[', any_array(), to);
}

int32_t JsonValues::any_object() {
  if (any_object_ >= 0) return any_object_;
  any_object_ = a_.add_rule();
  const Node end = a_.add_node(), key = a_.add_node(), colon = a_.add_node(), value = a_.add_node();
  const Node behind = a_.add_node(), spaced_value = a_.add_node();
  a_.add_close(end, '}', any_object_);
  a_.add_empty(a_.start(any_object_), space_before(key));
  a_.add_empty(a_.start(any_object_), space_before(end));
  text(key, 0, Automaton::kUnlimited, colon);
  a_.add_bytes(colon, ':', ':', spaced_value);
  a_.add_empty(spaced_value, value);
  a_.add_bytes(spaced_value, ' ', ' ', value);
  any_value(value, behind);
  a_.add_bytes(behind, ',', ',', space_before(key));
  a_.add_empty(behind, space_before(end));
  return any_object_;
}

int32_t JsonValues::any_array() {
  if (any_array_ >= 0) return any_array_;
  any_array_ = a_.add_rule();
  const Node end = a_.add_node(), value = a_.add_node(), behind = a_.add_node();
  a_.add_close(end, ']', any_array_);
  a_.add_empty(a_.start(any_array_), space_before(value));
  a_.add_empty(a_.start(any_array_), space_before(end));
  any_value(value, behind);
  a_.add_bytes(behind, ',', ',', space_before(value));
  a_.add_empty(behind, space_before(end));
  return any_array_;
}

}  // namespace flashmoe
