#include "support/mutation.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace flashmoe {
namespace {

void flip(std::string& bytes, Random& random) {
  for (uint64_t n = 1 + random.below(8); n > 0; --n) {
    bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
  }
}

void truncate(std::string& bytes, Random& random) { bytes.resize(random.below(bytes.size())); }

// Overwrites 4 or 8 bytes with a number that lies at an edge.
void blow_up(std::string& bytes, Random& random) {
  constexpr uint64_t kEdges[] = {0,
                                 1,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 uint64_t{1} << 32,
                                 INT64_MAX,
                                 uint64_t{1} << 63,
                                 UINT64_MAX,
                                 UINT64_MAX - 31,
                                 uint64_t{1} << 61};
  const uint64_t value = kEdges[random.below(std::size(kEdges))];
  const size_t width = random.below(2) == 0 ? 4 : 8;
  if (bytes.size() < width) return;
  std::memcpy(bytes.data() + random.below(bytes.size() - width + 1), &value, width);
}

// Text headers break elsewhere: digits grow, pieces repeat or vanish.
void edit(std::string& bytes, Random& random) {
  const size_t at = random.below(bytes.size()), n = std::min<size_t>(1 + random.below(40), bytes.size() - at);
  switch (random.below(4)) {
    case 0:
      bytes.insert(at, bytes.substr(at, n));
      break;
    case 1:
      bytes.erase(at, n);
      break;
    case 2:
      bytes.insert(at, std::string(n, "[{\"0-,9}]"[random.below(9)]));
      break;
    default:
      bytes.insert(at, "99999999999999999999", 1 + random.below(20));
  }
}

bool is_number(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-'; }

// Another value in place of the number or word that stands at or behind `at`.
void replace_value(std::string& text, size_t at, Random& random) {
  static const char* const kValues[] = {
      "0",    "1",     "2",     "3",  "-1", "64",      "255",        "65536", "2147483648",
      "1e39", "1e300", "0.5",   "{}", "[]", "\"x\"",   "null",       "true",  "false",
      "7",    "-0.0",  "1e-40", "16", "8",  "[1, -1]", "4294967296", "9e18",  "18446744073709551616"};
  while (at < text.size() && !is_number(text[at])) ++at;
  size_t end = at;
  while (end < text.size() && is_number(text[end])) ++end;
  if (at < text.size()) text.replace(at, end - at, kValues[random.below(std::size(kValues))]);
}

}  // namespace

int fuzz_count(int n) {
  const char* times = std::getenv("FLASHMOE_FUZZ_TIMES");
  return n * std::max(1, times == nullptr ? 1 : std::atoi(times));
}

std::string mutated(std::string bytes, Random& random) {
  for (uint64_t rounds = 1 + random.below(3); rounds > 0 && bytes.size() > 1; --rounds) {
    switch (random.below(8)) {
      case 0:
        truncate(bytes, random);
        break;
      case 1:
      case 2:
        flip(bytes, random);
        break;
      case 3:
      case 4:
        edit(bytes, random);
        break;
      default:
        blow_up(bytes, random);
    }
  }
  return bytes;
}

std::string mutated_within(std::string bytes, size_t begin, size_t end, Random& random) {
  std::string part = bytes.substr(begin, end - begin);
  for (uint64_t rounds = 1 + random.below(3); rounds > 0; --rounds) {
    switch (random.below(3)) {
      case 0:
        flip(part, random);
        break;
      case 1:
        blow_up(part, random);
        break;
      default:
        part[random.below(part.size())] = static_cast<char>(random.below(10));
    }
  }
  return bytes.replace(begin, end - begin, part);
}

std::string mutated_json(std::string text, Random& random) {
  for (uint64_t rounds = 1 + random.below(3); rounds > 0 && !text.empty(); --rounds) {
    const size_t at = random.below(text.size());
    const uint64_t kind = random.below(8);
    if (kind < 5) {
      replace_value(text, at, random);
    } else if (kind == 5) {  // a character of a name or word
      text[at] = static_cast<char>(' ' + random.below(95));
    } else if (kind == 6) {
      edit(text, random);
    } else {
      flip(text, random);
    }
  }
  return text;
}

}  // namespace flashmoe
