#include "engine/cache_folder.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

namespace flashmoe {

namespace fs = std::filesystem;

std::string user_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/flashmoe";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? std::string(home) + "/.cache/flashmoe" : "";
}

std::string model_record_path(const std::string& folder, const std::vector<std::string>& files, uint64_t file_bytes) {
  std::error_code error;
  const fs::path first = files.front();
  const uint64_t first_bytes = fs::file_size(first, error);
  return fmt::format("{}/{}-{}-{}", folder, first.filename().string(), error ? 0 : first_bytes, file_bytes);
}

}  // namespace flashmoe
