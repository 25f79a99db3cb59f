#include "base/error.h"

namespace flashmoe {
namespace {

std::string without_controls(const std::string& text, bool has_lines) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      shown += has_lines ? c : ' ';
    } else {
      const bool control = byte < 0x20 || byte == 0x7F;
      shown += control ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
    }
  }
  return shown;
}

}  // namespace

Error::Error(Fault fault, const std::string& message)
    : std::runtime_error(without_controls(message, fault == Fault::memory_floor)), fault_(fault) {}

}  // namespace flashmoe
