#include "engine/session_identity.h"

#include <fmt/format.h>

#include <array>

#include "checkpoint/identity.h"
#include "flashmoe/version.h"

namespace flashmoe {

std::string session_identity(const EngineParts& parts) {
  constexpr std::array<const char*, kKvFormatCount> kKvNames = {"f16", "f32", "q8"};
  const SessionParts& s = parts.session;
  return fmt::format("model {} keys {} kernels {}{} flashmoe {}", identity_of(parts.checkpoint->files()),
                     kKvNames[static_cast<size_t>(s.kv_format)], s.base.kernels, s.base.exact ? " exact" : "",
                     kVersion);
}

}  // namespace flashmoe
