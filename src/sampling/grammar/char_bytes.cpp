#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <tuple>

#include "sampling/grammar/char_dfa.h"

namespace flashmoe {
namespace {

// How far into the forbidden texts what was written last may be: the longest end of it that begins one of them.
class ForbiddenTexts {
 public:
  static constexpr int kWhole = -1;  // one of them is complete

  ForbiddenTexts() {
    for (const std::string_view text : kForbiddenInRaw) {
      for (size_t length = 0; length < text.size(); ++length) {
        const std::string beginning(text.substr(0, length));
        if (std::find(beginnings_.begin(), beginnings_.end(), beginning) == beginnings_.end()) {
          beginnings_.push_back(beginning);
        }
      }
    }
    for (const std::string& beginning : beginnings_) {
      auto& row = next_.emplace_back();
      for (size_t ascii = 0; ascii < row.size(); ++ascii) row[ascii] = find(beginning + static_cast<char>(ascii));
    }
  }

  int next(int state, char32_t ascii) const { return next_[static_cast<size_t>(state)][ascii]; }

 private:
  int find(std::string written) const {
    for (const std::string_view text : kForbiddenInRaw) {
      if (written.ends_with(text)) return kWhole;
    }
    for (;; written.erase(0, 1)) {
      const auto found = std::find(beginnings_.begin(), beginnings_.end(), written);
      if (found != beginnings_.end()) return static_cast<int>(found - beginnings_.begin());
    }
  }

  std::vector<std::string> beginnings_;  // 0: the empty one
  std::vector<std::array<int, 128>> next_;
};

class TextSteps {
 public:
  TextSteps(Automaton& automaton, const CharDfa& dfa, TextForm form) : a_(automaton), dfa_(dfa), form_(form) {}

  void add(Node from, Node to) {
    a_.add_empty(from, node(0, 0));
    for (size_t i = 0; i < places_.size(); ++i) {
      const auto [state, forbidden, at] = places_[i];
      const CharDfa::State& of_dfa = dfa_.states[static_cast<size_t>(state)];
      if (of_dfa.accepts) a_.add_empty(at, to);
      for (const CharDfa::Edge& edge : of_dfa.edges) add_edge(at, forbidden, edge);
    }
  }

 private:
  Node node(int32_t state, int forbidden) {
    const auto [found, is_new] = nodes_.try_emplace({state, forbidden}, 0);
    if (is_new) {
      found->second = a_.add_node();
      places_.emplace_back(state, forbidden, found->second);
    }
    return found->second;
  }

  void add_edge(Node at, int forbidden, const CharDfa::Edge& edge) {
    for (char32_t c = edge.low; c <= edge.high && c < 0x80;) {
      char32_t end = c + 1;
      const int next = form_ == TextForm::raw ? forbidden_.next(forbidden, c) : 0;
      while (end <= edge.high && end < 0x80 && is_plain(end) == is_plain(c) &&
             (form_ == TextForm::json || forbidden_.next(forbidden, end) == next)) {
        ++end;
      }
      if (next != ForbiddenTexts::kWhole) add_ascii(at, c, end - 1, node(edge.to, next));
      c = end;
    }
    if (edge.high >= 0x80) add_long(at, std::max<char32_t>(edge.low, 0x80), edge.high, node(edge.to, 0));
  }

  bool is_plain(char32_t c) const {
    if (form_ == TextForm::raw) return c >= 0x20 || c == '\t' || c == '\n';
    return c >= 0x20 && c != '"' && c != '\\';
  }

  // Characters that are all plain, or all not.
  void add_ascii(Node at, char32_t low, char32_t high, Node to) {
    if (is_plain(low)) {
      a_.add_bytes(at, static_cast<uint8_t>(low), static_cast<uint8_t>(high), to);
      return;
    }
    if (form_ == TextForm::raw) return;
    constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
    for (size_t i = 0; i < kEscaped.size(); ++i) {
      const auto c = static_cast<char32_t>(kEscaped[i]);
      if (c < low || c > high) continue;
      const auto letter = static_cast<uint8_t>(kLetters[i]);
      const Node escape = a_.add_node();
      a_.add_bytes(at, '\\', '\\', escape);
      a_.add_bytes(escape, letter, letter, to);
    }
  }

  // A range of characters of two to four bytes, cut where the number of bytes changes and around the surrogates.
  void add_long(Node at, char32_t low, char32_t high, Node to) {
    constexpr std::array<std::pair<char32_t, char32_t>, 4> kBlocks = {
        {{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, CharDfa::kLast}}};
    for (const auto& [first, last] : kBlocks) {
      const char32_t from = std::max(low, first), until = std::min(high, last);
      if (from <= until) add_tails(at, from, until, first == 0x80 ? 1 : first == 0x10000 ? 3 : 2, true, to);
    }
  }

  // The byte of [low, high] that `n_tails` bytes follow, and those.
  void add_tails(Node at, char32_t low, char32_t high, int n_tails, bool is_lead, Node to) {
    const int shift = 6 * n_tails;
    const char32_t mask = (char32_t{1} << shift) - 1;
    const auto byte = [&](char32_t c) {
      constexpr std::array<int, 4> kLeads = {0, 0xC0, 0xE0, 0xF0};
      const int bits = static_cast<int>(c >> shift);
      return static_cast<uint8_t>(is_lead ? kLeads[static_cast<size_t>(n_tails)] | bits : 0x80 | (bits & 0x3F));
    };
    if (n_tails == 0) {
      a_.add_bytes(at, byte(low), byte(high), to);
      return;
    }
    // A first and a last byte whose tails are not free, and those between.
    if ((low & mask) != 0 || (low | mask) > high) {
      const char32_t end = std::min<char32_t>(high, low | mask);
      add_byte(at, byte(low), byte(low), low, end, n_tails, to);
      if (end == high) return;
      low = end + 1;
    }
    const char32_t rest = (high & mask) == mask ? high + 1 : high & ~mask;
    if (low < rest) add_byte(at, byte(low), byte(rest - 1), low, low | mask, n_tails, to);
    if (rest <= high) add_byte(at, byte(rest), byte(rest), rest, high, n_tails, to);
  }

  // One of the bytes, then the tails of [low, high].
  void add_byte(Node at, uint8_t first, uint8_t last, char32_t low, char32_t high, int n_tails, Node to) {
    const char32_t mask = (char32_t{1} << (6 * n_tails)) - 1;
    const auto [found, is_new] = tails_.try_emplace({low & mask, high & mask, n_tails, to}, 0);
    if (is_new) {
      found->second = a_.add_node();
      add_tails(found->second, low, high, n_tails - 1, false, to);
    }
    a_.add_bytes(at, first, last, found->second);
  }

  Automaton& a_;
  const CharDfa& dfa_;
  const TextForm form_;
  const ForbiddenTexts forbidden_;
  std::map<std::pair<int32_t, int>, Node> nodes_;
  std::vector<std::tuple<int32_t, int, Node>> places_;
  std::map<std::tuple<char32_t, char32_t, int, Node>, Node> tails_;
};

}  // namespace

void add_texts(Automaton& automaton, const CharDfa& dfa, TextForm form, Node from, Node to) {
  TextSteps(automaton, dfa, form).add(from, to);
}

}  // namespace flashmoe
