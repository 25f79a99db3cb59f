#include "sampling/grammar/char_dfa.h"

#include <algorithm>
#include <map>
#include <string>

namespace flashmoe {
// The character at `at`, which moves behind it. The text is valid UTF-8.
char32_t take_character(std::string_view text, size_t& at) {
  const auto lead = static_cast<uint8_t>(text[at++]);
  const int n_tails = lead < 0xC0 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  char32_t character = n_tails == 0 ? lead : lead & (0x3F >> n_tails);
  for (int i = 0; i < n_tails && at < text.size(); ++i) {
    character = (character << 6) | (static_cast<uint8_t>(text[at++]) & 0x3F);
  }
  return character;
}

bool CharDfa::trim() {
  std::vector<std::vector<int32_t>> from(states.size());
  std::vector<int32_t> waiting, new_id(states.size(), -1);
  for (size_t i = 0; i < states.size(); ++i) {
    for (const Edge& edge : states[i].edges) from[static_cast<size_t>(edge.to)].push_back(static_cast<int32_t>(i));
    if (states[i].accepts) waiting.push_back(static_cast<int32_t>(i));
  }
  while (!waiting.empty()) {
    const auto state = static_cast<size_t>(waiting.back());
    waiting.pop_back();
    if (new_id[state] >= 0) continue;
    new_id[state] = 0;
    waiting.insert(waiting.end(), from[state].begin(), from[state].end());
  }
  if (states.empty() || new_id[0] < 0) return false;
  std::vector<State> kept;
  int32_t n_kept = 0;
  for (int32_t& id : new_id) id = id < 0 ? -1 : n_kept++;
  for (size_t i = 0; i < states.size(); ++i) {
    if (new_id[i] < 0) continue;
    std::erase_if(states[i].edges, [&](const Edge& edge) { return new_id[static_cast<size_t>(edge.to)] < 0; });
    for (Edge& edge : states[i].edges) edge.to = new_id[static_cast<size_t>(edge.to)];
    kept.push_back(std::move(states[i]));
  }
  states = std::move(kept);
  return true;
}

bool CharDfa::accepts(std::string_view utf8) const {
  size_t state = 0;
  for (size_t at = 0; at < utf8.size();) {
    const char32_t character = take_character(utf8, at);
    const auto& edges = states[state].edges;
    const auto found = std::find_if(edges.begin(), edges.end(),
                                    [&](const Edge& edge) { return edge.low <= character && character <= edge.high; });
    if (found == edges.end()) return false;
    state = static_cast<size_t>(found->to);
  }
  return states[state].accepts;
}

CharDfa texts_of_length(int32_t least, int32_t most) {
  CharDfa dfa;
  const bool limited = most != Automaton::kUnlimited;
  const int32_t last = limited ? most : least;
  for (int32_t count = 0; count <= last; ++count) {
    CharDfa::State state{{}, count >= least};
    if (count < last || !limited) state.edges.push_back({0, CharDfa::kLast, std::min(count + 1, last)});
    dfa.states.push_back(std::move(state));
  }
  return dfa;
}

CharDfa all_but(const std::vector<std::string>& texts) {
  std::vector<std::map<char32_t, int32_t>> next(2);  // 0: the start; 1: none of the texts any more
  std::vector<bool> accepts = {true, true};
  for (const std::string& text : texts) {
    int32_t state = 0;
    for (size_t at = 0; at < text.size();) {
      const char32_t character = take_character(text, at);
      const auto fresh = static_cast<int32_t>(next.size());
      const auto [found, is_new] = next[static_cast<size_t>(state)].try_emplace(character, fresh);
      state = found->second;
      if (is_new) {
        next.emplace_back();
        accepts.push_back(true);
      }
    }
    accepts[static_cast<size_t>(state)] = false;
  }
  CharDfa dfa;
  for (size_t i = 0; i < next.size(); ++i) {
    CharDfa::State state{{}, accepts[i]};
    char32_t low = 0;
    for (const auto& [character, to] : next[i]) {
      if (low < character) state.edges.push_back({low, character - 1, 1});
      state.edges.push_back({character, character, to});
      low = character + 1;
    }
    if (low <= CharDfa::kLast) state.edges.push_back({low, CharDfa::kLast, 1});
    dfa.states.push_back(std::move(state));
  }
  return dfa;
}

CharDfa intersection(const CharDfa& a, const CharDfa& b) {
  CharDfa both;
  std::map<std::pair<int32_t, int32_t>, int32_t> ids = {{{0, 0}, 0}};
  std::vector<std::pair<int32_t, int32_t>> pairs = {{0, 0}};
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (pairs.size() > CharDfa::kMaxStates) return {};
    const auto& in_a = a.states[static_cast<size_t>(pairs[i].first)];
    const auto& in_b = b.states[static_cast<size_t>(pairs[i].second)];
    CharDfa::State state{{}, in_a.accepts && in_b.accepts};
    auto of_a = in_a.edges.begin();
    auto of_b = in_b.edges.begin();
    while (of_a != in_a.edges.end() && of_b != in_b.edges.end()) {
      const char32_t low = std::max(of_a->low, of_b->low), high = std::min(of_a->high, of_b->high);
      if (low <= high) {
        const auto [found, is_new] = ids.try_emplace({of_a->to, of_b->to}, static_cast<int32_t>(pairs.size()));
        if (is_new) pairs.emplace_back(of_a->to, of_b->to);
        state.edges.push_back({low, high, found->second});
      }
      of_a->high < of_b->high ? ++of_a : ++of_b;
    }
    both.states.push_back(std::move(state));
  }
  return both;
}

}  // namespace flashmoe
