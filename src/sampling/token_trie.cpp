#include "sampling/token_trie.h"

#include <algorithm>

#include "base/error.h"
#include "sampling/grammar/text_phase.h"

namespace flashmoe {

TokenTrie::TokenTrie(const TokenTable& table)
    : bytes_(table.bytes.begin(), table.bytes.end()),
      added_(table.added.begin(), table.added.end()),
      is_end_(bytes_.size()),
      ends_(table.ends.begin(), table.ends.end()),
      next_same_(bytes_.size(), -1) {
  if (added_.size() != bytes_.size()) {
    fail(Fault::input, "{} tokens come with {} flags: one each is needed", bytes_.size(), added_.size());
  }
  for (const int32_t end : ends_) {
    if (end < 0 || end >= size()) fail(Fault::input, "end token {} is out of range: ids are 0 to {}", end, size() - 1);
    is_end_[static_cast<size_t>(end)] = 1;
  }
  for (int32_t token = 0; token < size(); ++token) {
    if (is_added(token)) added_tokens_.emplace(bytes(token), token);
  }
  build_nodes();
  index_strings();
}

std::optional<int32_t> TokenTrie::added_token(std::string_view text) const {
  const auto found = added_tokens_.find(std::string(text));
  return found == added_tokens_.end() ? std::nullopt : std::optional(found->second);
}

void TokenTrie::build_nodes() {
  constexpr size_t kLongest = 0xFFFF;  // what Node::depth can hold
  std::vector<int32_t> order;
  for (int32_t token = 0; token < size(); ++token) {
    const size_t length = bytes(token).size();
    if (!is_added(token) && !is_end(token) && length > 0 && length <= kLongest) order.push_back(token);
  }
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return bytes(a) != bytes(b) ? bytes(a) < bytes(b) : a < b; });
  std::vector<int32_t> path;  // [depth] the node there
  int32_t before = -1;        // the token before this one in the order
  for (const int32_t token : order) {
    const std::string_view text = bytes(token);
    size_t common = 0;
    while (common < path.size() && common < text.size() &&
           nodes_[static_cast<size_t>(path[common])].byte == static_cast<uint8_t>(text[common])) {
      ++common;
    }
    for (; path.size() > common; path.pop_back()) {
      nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
    }
    for (size_t depth = common; depth < text.size(); ++depth) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({0, -1, static_cast<uint16_t>(depth), static_cast<uint8_t>(text[depth])});
    }
    int32_t& first = nodes_[static_cast<size_t>(path.back())].token;
    (first < 0 ? first : next_same_[static_cast<size_t>(before)]) = token;
    before = token;
    max_depth_ = std::max(max_depth_, static_cast<int>(text.size()));
    if (text.size() == 1) single_bytes_.set(static_cast<uint8_t>(text[0]));
  }
  for (; !path.empty(); path.pop_back()) {
    nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
  }
}

void TokenTrie::index_strings() {
  // Where not every part of a character can be written alone, what may come depends on more than the phase.
  for (int byte = 0x20; byte <= 0xBF; ++byte) {
    if (byte != 0x7F && !single_bytes_[static_cast<size_t>(byte)]) return;
  }
  struct Place {
    TextPhase::Phase phase;
    int32_t n_characters;  // begun
  };
  std::vector<Place> places(static_cast<size_t>(max_depth_) + 1);  // [depth] before the byte at this depth
  places[0] = {TextPhase::between, 0};
  inside_bits_.assign((bytes_.size() + 63) / 64, 0);
  for (int32_t i = 0; i < static_cast<int32_t>(nodes_.size());) {
    const Node& node = nodes_[static_cast<size_t>(i)];
    Place place = places[node.depth];
    const auto phase = kTextPhases[static_cast<size_t>(place.phase)][node.byte];
    if (phase == TextPhase::quote) quotes_.push_back({i, place.n_characters});
    if (phase < TextPhase::between) {
      i = node.end;
      continue;
    }
    if (place.phase == TextPhase::between) ++place.n_characters;
    place.phase = phase;
    places[node.depth + size_t{1}] = place;
    for (int32_t token = node.token; token >= 0; token = next_same(token)) {
      insides_.push_back({place.n_characters, token});
      inside_bits_[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
    }
    ++i;
  }
  std::stable_sort(insides_.begin(), insides_.end(),
                   [](const Inside& a, const Inside& b) { return a.n_characters < b.n_characters; });
}

}  // namespace flashmoe
