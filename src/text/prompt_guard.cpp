#include "text/prompt_guard.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace flashmoe {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::string_view kGuard = "\xEF\xB7\x90";          // U+FDD0
constexpr std::string_view kEscape = "\xEF\xB7\x91";         // U+FDD1
constexpr std::string_view kEscapedGuard = "\xEF\xB7\x92";   // U+FDD2
constexpr std::string_view kEscapedEscape = "\xEF\xB7\x93";  // U+FDD3
constexpr size_t kWidth = 3;

std::string escaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const std::string_view at = text.substr(i, kWidth);
    if (at == kGuard || at == kEscape) {
      out.append(kEscape).append(at == kGuard ? kEscapedGuard : kEscapedEscape);
      i += kWidth;
    } else {
      out += text[i++];
    }
  }
  return out;
}

}  // namespace

PromptGuard::PromptGuard(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  for (const std::string& mark : tokenizer.added_tokens()) {
    if (mark.empty() || std::string_view(" \t\r\n\v\f").find(mark[0]) != std::string_view::npos) continue;
    marks_.push_back(mark);
    first_byte_[static_cast<unsigned char>(mark[0])] = true;
  }
}

size_t PromptGuard::mark_at(std::string_view text) const {
  if (text.empty() || !first_byte_[static_cast<unsigned char>(text[0])]) return 0;
  size_t longest = 0;
  for (const std::string& mark : marks_) {
    if (mark.size() > longest && text.starts_with(mark)) longest = mark.size();
  }
  return longest;
}

bool PromptGuard::begins_mark(std::string_view text) const {
  if (text.empty() || !first_byte_[static_cast<unsigned char>(text[0])]) return false;
  return std::any_of(marks_.begin(), marks_.end(),
                     [&](const std::string& mark) { return text.starts_with(mark) || mark.starts_with(text); });
}

std::string PromptGuard::shield(std::string_view text) const {
  const std::string source = escaped(text);
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (begins_mark(std::string_view(source).substr(i))) out += kGuard;
    out += source[i];
  }
  return out;
}

std::string PromptGuard::unshield(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const std::string_view at = text.substr(i, kWidth), next = text.substr(std::min(text.size(), i + kWidth), kWidth);
    if (at == kGuard) {
      i += kWidth;
    } else if (at == kEscape && (next == kEscapedGuard || next == kEscapedEscape)) {
      out += next == kEscapedGuard ? kGuard : kEscape;
      i += 2 * kWidth;
    } else {
      out += text[i++];
    }
  }
  return out;
}

// Where templates look for a tool's result that a client sends as the user's words: its marks stay what they are.
std::string PromptGuard::shield_user(std::string_view text) const {
  constexpr std::string_view kBegin = "<tool_response>", kEnd = "</tool_response>", kSpace = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpace);
  const std::string_view trimmed =
      first == text.npos ? "" : text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
  if (trimmed.size() < kBegin.size() + kEnd.size() || !trimmed.starts_with(kBegin) || !trimmed.ends_with(kEnd)) {
    return shield(text);
  }
  const std::string_view inner = trimmed.substr(kBegin.size(), trimmed.size() - kBegin.size() - kEnd.size());
  std::string out(text.substr(0, first + kBegin.size()));
  out.append(shield(inner)).append(text.substr(first + trimmed.size() - kEnd.size()));
  return out;
}

std::string PromptGuard::kept(std::string_view text, bool trusted) const {
  return trusted ? escaped(text) : shield(text);
}

bool PromptGuard::rename(Json::object_t& members, bool trusted) const {
  const auto changes = [&](const auto& member) { return kept(member.first, trusted) != member.first; };
  if (std::none_of(members.begin(), members.end(), changes)) return false;
  Json::object_t out;
  out.reserve(members.size());
  for (auto& [name, value] : members) out.emplace_back(kept(name, trusted), std::move(value));  // they stay distinct
  members = std::move(out);
  return true;
}

bool PromptGuard::walk(Json& node, Place place, bool trusted) const {
  bool changed = false;
  if (node.is_string()) {
    auto& text = node.get_ref<std::string&>();
    std::string guarded = place == Place::user_text ? shield_user(text) : kept(text, trusted);
    changed = guarded != text;
    if (changed) text = std::move(guarded);
  } else if (node.is_array()) {
    const Place inner = place == Place::parts ? Place::part : Place::elsewhere;
    for (auto& item : node) changed |= walk(item, inner, trusted);
  } else if (node.is_object()) {
    const bool is_message = place == Place::message || place == Place::user_message;
    const std::string_view selector = is_message ? "role" : place == Place::part ? "type" : "";
    auto& members = node.get_ref<Json::object_t&>();
    for (auto& [name, value] : members) {
      const bool is_content = is_message && name == "content";
      const Place inner = !is_content                                         ? Place::elsewhere
                          : place == Place::user_message && value.is_string() ? Place::user_text
                                                                              : Place::parts;
      const bool selects = !selector.empty() && name == selector && value.is_string();
      changed |= walk(value, inner, trusted || selects);
    }
    changed |= rename(members, trusted);
  }
  return changed;
}

bool PromptGuard::shield(Json& request) const {
  if (!request.is_object()) return false;
  bool changed = false;
  for (auto& [key, value] : request.items()) {
    if (key == "messages" && value.is_array()) {
      for (auto& message : value) {
        const auto role = message.is_object() ? message.find("role") : message.end();
        const bool has_role = message.is_object() && role != message.end();
        changed |= walk(message, has_role && *role == "user" ? Place::user_message : Place::message,
                        has_role && *role == "assistant");
      }
    } else {
      changed |= walk(value, Place::elsewhere, key != "tools" && key != "documents" && key != "messages");
    }
  }
  return changed;
}

std::vector<int32_t> PromptGuard::encode(std::string_view rendered) const {
  std::vector<int32_t> ids;
  const auto append = [&](std::string_view text, Marks marks) {
    if (text.empty()) return;
    const std::vector<int32_t> more = tokenizer_.encode(unshield(text), marks);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  const auto is_clean = [](std::string_view text) {
    return text.find(kGuard) == std::string_view::npos && text.find(kEscape) == std::string_view::npos;
  };
  // Marks cut the text whichever way it is tokenised: clean stretches go as one, marks in them parsed; a stretch
  // between two marks that holds guarded text goes as text.
  size_t clean_start = 0, stretch_start = 0;
  const auto end_stretch = [&](size_t end) {
    if (is_clean(rendered.substr(stretch_start, end - stretch_start))) return;
    append(rendered.substr(clean_start, stretch_start - clean_start), Marks::parse);
    append(rendered.substr(stretch_start, end - stretch_start), Marks::as_text);
    clean_start = end;
  };
  for (size_t i = 0; i < rendered.size();) {
    const bool guarded = i >= kWidth && rendered.substr(i - kWidth, kWidth) == kGuard;
    const size_t n = guarded ? 0 : mark_at(rendered.substr(i));
    if (n == 0) {
      ++i;
      continue;
    }
    end_stretch(i);
    i += n;
    stretch_start = i;
  }
  end_stretch(rendered.size());
  append(rendered.substr(std::min(clean_start, rendered.size())), Marks::parse);
  return ids;
}

}  // namespace flashmoe
