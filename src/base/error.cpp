#include "base/error.h"

#include <string_view>

#include "flashmoe/wording.h"

namespace flashmoe {
namespace {

std::string shown(std::string_view message, char line_end) {
  std::string text;
  while (true) {
    const size_t end = message.find('\n');
    text += without_controls(message.substr(0, end));
    if (end == std::string_view::npos) return text;
    text += line_end;
    message.remove_prefix(end + 1);
  }
}

}  // namespace

Error::Error(Fault fault, const std::string& message)
    : std::runtime_error(shown(message, fault == Fault::memory_floor ? '\n' : ' ')), fault_(fault) {}

}  // namespace flashmoe
