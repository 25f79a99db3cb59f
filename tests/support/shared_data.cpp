#include "support/shared_data.h"

#include <cstdlib>
#include <filesystem>

namespace flashmoe {

std::optional<std::string> shared_path(std::string_view relative) {
  const char* named = std::getenv("FLASHMOE_SHARED");
  const std::filesystem::path root = named != nullptr ? named : FLASHMOE_SOURCE_DIR "/../shared";
  const std::filesystem::path path = root / relative;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  return path.string();
}

}  // namespace flashmoe
