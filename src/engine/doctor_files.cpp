#include "engine/doctor_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>

#include "base/error.h"
#include "engine/file_holes.h"
#include "engine/findings.h"
#include "io/direct_alignment.h"
#include "io/mirror.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;
using Files = std::vector<std::shared_ptr<File>>;

constexpr const char* kMirror = "mirror";

std::optional<Files> open_copies(const Files& files, const std::string& folder) {
  Files copies;
  try {
    for (const auto& file : files) copies.push_back(open_file(path_of_copy(*file, folder)));
  } catch (const Error&) {
    return std::nullopt;
  }
  return copies;
}

bool on_one_device(const std::string& a, const std::string& b) {
  struct stat x = {}, y = {};
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev;
}

// A folder of copies beside the model's own and the `earlier` ones.
Finding check_mirror(const Checkpoint& checkpoint, const Files& copies, const std::string& folder,
                     std::span<const std::string> earlier) {
  std::error_code error;
  const auto is_this = [&](const std::string& other) { return fs::equivalent(folder, other, error); };
  if (std::ranges::any_of(earlier, is_this))
    return {kMirror, Verdict::note, folder + ": given twice", "leave one away"};
  for (const auto& copy : copies) {
    Finding direct = check_direct(copy->path());
    if (direct.verdict == Verdict::good) continue;
    return {kMirror, direct.verdict, direct.found + "; all copies are read through the page cache then", direct.mend};
  }
  if (const auto holes = holes_in_tensors(checkpoint, copies); !holes.empty()) {
    return {kMirror, Verdict::note, told(holes), kMendOfHoles};
  }
  const std::string own = fs::path(checkpoint.files().front()->path()).parent_path().string();
  std::vector<std::string> others = {own.empty() ? std::string(".") : own};
  others.insert(others.end(), earlier.begin(), earlier.end());
  const auto same = std::ranges::find_if(others, [&](const std::string& o) { return on_one_device(folder, o); });
  if (same == others.end())
    return {kMirror, Verdict::good, folder + ": on a drive of its own, read past the cache", ""};
  return {kMirror, Verdict::note, fmt::format("{}: on the same drive as {}, so that it adds no speed", folder, *same),
          "put the copy on another drive, or leave it away"};
}

}  // namespace

Finding check_direct(const std::string& path) {
  try {
    const uint32_t alignment = probe_direct_alignment(*open_file(path));
    if (alignment > 0) return {"O_DIRECT", Verdict::good, fmt::format("works, {} bytes aligned", alignment), ""};
  } catch (const Error& error) {
    return finding_of("O_DIRECT", error);
  }
  return {"O_DIRECT", Verdict::problem, path + ": its file system refuses direct reads",
          "put the model on ext4, xfs or btrfs; tmpfs, overlays and network mounts read through the page cache"};
}

void check_holes(const Checkpoint& checkpoint, std::vector<Finding>& findings) {
  const auto holes = holes_in_tensors(checkpoint, checkpoint.files());
  if (!holes.empty()) findings.push_back({"holes", Verdict::note, told(holes), kMendOfHoles});
}

void check_mirrors(const Checkpoint& checkpoint, const std::vector<std::string>& folders,
                   std::vector<Finding>& findings) {
  for (size_t i = 0; i < folders.size(); ++i) {
    if (const auto copies = open_copies(checkpoint.files(), folders[i])) {
      findings.push_back(check_mirror(checkpoint, *copies, folders[i], std::span(folders).first(i)));
    }
  }
}

}  // namespace flashmoe
