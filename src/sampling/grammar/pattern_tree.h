// A regular expression as a tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashmoe {

// Characters, as sorted ranges that do not touch.
using CharSet = std::vector<std::pair<char32_t, char32_t>>;

struct PatternTree {
  enum class Kind { set, sequence, choice, repeat, at_start, at_end };
  static constexpr int kUnlimited = -1;
  static constexpr int kMaxTimes = 2000;

  Kind kind = Kind::sequence;
  CharSet set;
  std::vector<PatternTree> parts;  // of a sequence or a choice; repeat: the one
  int least = 0, most = kUnlimited;
};

// Thrown while a pattern is read and compiled; caught in compile_pattern.
struct PatternRefused {
  std::string reason;
};

PatternTree parse_pattern(std::string_view pattern);

}  // namespace flashmoe
