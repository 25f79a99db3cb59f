#include "pack/pack_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kIdentityBytes = kMiB;  // of the head of each source file
constexpr const char* kTimes = "modified_ns";

}  // namespace

Json source_identity(const Checkpoint& checkpoint) {
  Json files = Json::array(), times = Json::array();
  for (const auto& file : checkpoint.files()) {
    struct stat status = {};
    ::stat(file->path().c_str(), &status);
    times.push_back(status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
    std::vector<std::byte> head(static_cast<size_t>(std::min(kIdentityBytes, file->size())));
    file->read(0, head);
    files.push_back({{"name", std::filesystem::path(file->path()).filename().string()},
                     {"bytes", file->size()},
                     {"xxh3_of_first_mib", show_checksum(checksum_of(head))}});
  }
  return {{"container", checkpoint.container()}, {"files", std::move(files)}, {kTimes, std::move(times)}};
}

Json without_times(Json source) {
  source.erase(kTimes);
  return source;
}

bool is_same_source(const Json& begun, const Json& now) {
  return begun == (begun.contains(kTimes) ? now : without_times(now));
}

Json settings_of(const Recipe& recipe, const Importance& importance) {
  Json settings = recipe.settings();
  if (importance.known()) settings["importance"] = importance.identity();
  return settings;
}

}  // namespace flashmoe
