#include "engine/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "base/kernel_text.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

// What browsers, curl, aria2, wget and huggingface_hub call a file until it is whole.
constexpr std::array<std::string_view, 6> kPartial = {".part",     ".partial", ".crdownload",
                                                      ".download", ".aria2",   ".incomplete"};

bool is_partial(const std::string& name) {
  return std::any_of(kPartial.begin(), kPartial.end(), [&](std::string_view end) { return name.ends_with(end); });
}

void collect_partial(const fs::path& folder, std::vector<std::string>& found) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (is_partial(name)) found.push_back(name);
  }
}

const char* usual_mend(Fault fault) {
  switch (fault) {
    case Fault::usage:
      return "change or leave away that option";
    case Fault::unsupported:
      return "take another file of the model";
    case Fault::io:
      return "see to it that this path can be read: its permissions, its drive";
    default:
      return "fetch the model again";
  }
}

}  // namespace

Finding check_huge_pages(const std::string& root) {
  constexpr const char* kFolder = "sys/kernel/mm";
  std::error_code error;
  if (!fs::exists(root + kFolder, error)) {
    return {"huge pages", Verdict::note, fmt::format("cannot be told: /{} is not there", kFolder),
            "mount /sys to have it told; without huge pages memory is slower"};
  }
  const std::string line = read_kernel_text(root + kFolder + "/transparent_hugepage/enabled").value_or("");
  if (line.find("[always]") != std::string::npos || line.find("[madvise]") != std::string::npos) {
    return {"huge pages", Verdict::good, "given when asked for", ""};
  }
  if (line.empty()) {
    return {"huge pages", Verdict::problem, "the kernel has none",
            "take a kernel that was built with transparent huge pages"};
  }
  return {"huge pages", Verdict::problem, "switched off", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"};
}

std::optional<Finding> check_proc(const std::string& root) {
  std::error_code error;
  if (fs::exists(root + "proc/meminfo", error)) return std::nullopt;
  return Finding{"proc", Verdict::note,
                 "/proc is not there: limits of cgroups, the page cache and what others take cannot be seen",
                 "mount /proc, or say with --ram how much memory may be used"};
}

Finding check_swap(const std::string& root) {
  std::ifstream swaps(root + "proc/swaps");
  std::string line;
  std::getline(swaps, line);  // the heading
  if (!std::getline(swaps, line)) return {"swap", Verdict::good, "none", ""};
  return {"swap", Verdict::note, "in use: memory that is short will be swapped, not refused",
          "keep --ram well below what is free, or swapoff -a: a swapped expert is slower than one read anew"};
}

std::optional<Finding> check_downloads(const std::string& model_path) {
  std::error_code error;
  const fs::path path = model_path;
  const fs::path folder = fs::is_directory(path, error) ? path : path.parent_path().empty() ? "." : path.parent_path();
  std::vector<std::string> found;
  collect_partial(folder, found);
  collect_partial(folder / ".cache/huggingface/download", found);
  if (found.empty()) return std::nullopt;
  std::sort(found.begin(), found.end());
  // Beside a single file they may belong to another model.
  const Verdict verdict = fs::is_directory(path, error) ? Verdict::problem : Verdict::note;
  const std::string more = found.size() > 1 ? fmt::format(" and {} more", found.size() - 1) : "";
  return Finding{"downloads", verdict, fmt::format("unfinished in {}: {}{}", folder.string(), found.front(), more),
                 "finish the download, or delete what is left of it"};
}

Finding finding_of(const std::string& what, const Error& error) {
  const std::string message = error.what();
  const size_t semicolon = message.rfind("; ");
  if (semicolon == std::string::npos) return {what, Verdict::problem, message, usual_mend(error.fault())};
  return {what, Verdict::problem, message.substr(0, semicolon), message.substr(semicolon + 2)};
}

}  // namespace flashmoe
