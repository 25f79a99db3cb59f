#include "text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "base/check.h"
#include "text/unicode.h"

namespace flashmoe {
namespace {

constexpr uint32_t kNoNode = 0;

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word_character(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      // Join controls, and the circled and squared letters, which are alphabetic symbols.
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  }
}

// The last character of well-formed, non-empty text.
Utf8Part last_utf8(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return next_utf8(text.substr(at));
}

bool touches_word(std::string_view before, std::string_view after) {
  return (!before.empty() && is_word_character(last_utf8(before).code_point)) ||
         (!after.empty() && is_word_character(next_utf8(after).code_point));
}

size_t white_space_at_end(std::string_view text) {
  const size_t whole = text.size();
  while (!text.empty()) {
    const Utf8Part last = last_utf8(text);
    if (!is_white_space(last.code_point)) break;
    text.remove_suffix(last.n_bytes);
  }
  return whole - text.size();
}

size_t white_space_at_start(std::string_view text) {
  const size_t whole = text.size();
  while (!text.empty()) {
    const Utf8Part first = next_utf8(text);
    if (!is_white_space(first.code_point)) break;
    text.remove_prefix(first.n_bytes);
  }
  return whole - text.size();
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::span<const AddedToken> tokens, std::span<const std::string> texts)
    : tokens_(tokens.begin(), tokens.end()), nodes_(1) {
  CHECK(tokens.size() == texts.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (texts[i].empty()) continue;
    uint32_t node = 0;
    for (const char c : texts[i]) {
      const auto byte = static_cast<unsigned char>(c);
      uint32_t next = child(node, byte);
      if (next == kNoNode) {
        next = static_cast<uint32_t>(nodes_.size());
        nodes_.emplace_back();
        nodes_[node].edges.push_back({byte, next});
      }
      node = next;
    }
    nodes_[node].token = static_cast<int32_t>(i);
    starts_token_[static_cast<unsigned char>(texts[i][0])] = true;
  }
}

uint32_t AddedTokenFinder::child(uint32_t node, unsigned char byte) const {
  for (const Edge& edge : nodes_[node].edges) {
    if (edge.byte == byte) return edge.node;
  }
  return kNoNode;
}

AddedTokenFinder::Match AddedTokenFinder::match_at(std::string_view text) const {
  Match longest{-1, 0};
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    node = child(node, static_cast<unsigned char>(text[i]));
    if (node == kNoNode) break;
    if (nodes_[node].token >= 0) longest = {nodes_[node].token, i + 1};
  }
  return longest;
}

void AddedTokenFinder::split(std::string_view text, std::vector<AddedSpan>& out) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (!starts_token_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const Match match = match_at(text.substr(at));
    if (match.token < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    size_t start = at;
    size_t end = at + match.length;
    at = end;
    if (token.single_word && touches_word(text.substr(0, start), text.substr(end))) continue;
    if (token.lstrip) start = std::max(done, start - white_space_at_end(text.substr(0, start)));
    if (token.rstrip) end += white_space_at_start(text.substr(end));
    if (done < start) out.push_back({-1, text.substr(done, start - done)});
    out.push_back({token.id, text.substr(start, end - start)});
    done = end;
  }
  if (done < text.size()) out.push_back({-1, text.substr(done)});
}

}  // namespace flashmoe
