// Keeps text of users and tools from acting as control tokens.
//
// Before rendering, U+FDD0 is put in front of each place in such text where an added token's text (a mark) begins, also
// where the text ends in the beginning of one; marks the template itself writes stay clean. After rendering, a mark
// behind U+FDD0 is ordinary text. U+FDD0 and U+FDD1 in the request itself are written as U+FDD1 and a second
// noncharacter, and read back, so no text is lost. Added tokens that begin with white space control nothing and are not
// marks: a template that trims its input would separate them from their U+FDD0.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace flashmoe {

class PromptGuard {
 public:
  explicit PromptGuard(const Tokenizer& tokenizer);

  // Guards messages that are not the assistant's, tools and documents; everything else is only escaped, and so is what
  // templates select by, where they do: the "role" of a message, the "type" of a part of its content. False: the
  // request was not changed.
  bool shield(nlohmann::ordered_json& request) const;
  std::string shield(std::string_view text) const;
  // Equal to the text before shield().
  static std::string unshield(std::string_view text);

  // The rendered prompt of a shielded request, as ids.
  std::vector<int32_t> encode(std::string_view rendered) const;

 private:
  size_t mark_at(std::string_view text) const;    // length of the longest mark that `text` begins with, or 0
  bool begins_mark(std::string_view text) const;  // a mark begins here, or `text` is the beginning of one

  // parts: the list in a message's "content"
  enum class Place { message, user_message, user_text, parts, part, elsewhere };
  std::string shield_user(std::string_view text) const;
  std::string kept(std::string_view text, bool trusted) const;
  bool walk(nlohmann::ordered_json& node, Place place, bool trusted) const;  // whether it changed something
  bool rename(nlohmann::ordered_json::object_t& members, bool trusted) const;

  const Tokenizer& tokenizer_;
  std::vector<std::string> marks_;
  bool first_byte_[256] = {};
};

}  // namespace flashmoe
