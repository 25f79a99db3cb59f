#include "chat/key_sequence.h"

#include <algorithm>

namespace flashmoe {
namespace {

constexpr char kEscape = '\033';

// Where [ or O is, behind all escapes; npos: nowhere.
size_t introducer_of(std::string_view keys) {
  const size_t at = std::min(keys.find_first_not_of(kEscape), keys.size() - 1);
  return keys[at] == '[' || keys[at] == 'O' ? at : std::string_view::npos;
}

}  // namespace

bool goes_on(std::string_view keys) {
  const auto last = static_cast<unsigned char>(keys.back());
  const size_t introducer = introducer_of(keys);
  if (introducer == std::string_view::npos) return keys.back() == kEscape;
  if (introducer + 1 == keys.size()) return true;
  const bool console_key = keys.substr(introducer) == "[[";  // F1 to F5 of the Linux console have another byte
  return console_key || (last >= 0x20 && last < 0x40) || last >= 0x7F;
}

bool is_control_sequence(std::string_view keys) { return introducer_of(keys) != std::string_view::npos; }

}  // namespace flashmoe
