#include "memory/memory_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "base/cgroup.h"
#include "base/kernel_text.h"
#include "memory/cgroup_files.h"

namespace flashmoe {
namespace {

int open_text(const std::string& path) { return open(path.c_str(), O_RDONLY | O_CLOEXEC); }

uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// proc/self/stat: field 12, counted after the name in brackets, which may hold anything.
uint64_t major_faults_in(std::string_view stat) {
  constexpr int kFieldsBefore = 10;  // between the name and majflt: state ... cminflt
  size_t at = stat.rfind(')');
  for (int i = 0; i < kFieldsBefore && at != std::string_view::npos; ++i) at = stat.find(' ', at + 1);
  return at == std::string_view::npos ? 0 : parse_number(stat.substr(at)).value_or(0);
}

// "some avg10=1.23 avg60=...".
double stalled_in(std::string_view pressure) {
  constexpr std::string_view kKey = "some avg10=";
  double percent = 0;
  if (pressure.starts_with(kKey)) {
    std::from_chars(pressure.data() + kKey.size(), pressure.data() + pressure.size(), percent);
  }
  return percent;
}

}  // namespace

// Limits are asked for each time: they may be changed while the process runs.
struct MemoryWatch::Group {
  const CgroupFiles* files = nullptr;
  bool v2 = false;
  int limits[2] = {-1, -1};
  int usage = -1, stat = -1;
};

MemoryWatch::MemoryWatch(const std::string& root) {
  const std::string base = root.ends_with('/') ? root : root + "/";
  meminfo_ = open_text(base + "proc/meminfo");
  status_ = open_text(base + "proc/self/status");
  stat_ = open_text(base + "proc/self/stat");
  for (const Cgroup& cgroup : cgroups_with("memory", base)) {
    const std::string folder = base + cgroup.folder + "/";
    // The nearest group that tells speaks for this process.
    if (cgroup.v2 && pressure_ < 0) pressure_ = open_text(folder + "memory.pressure");
    Group group{.files = &files_of(cgroup), .v2 = cgroup.v2};
    group.usage = open_text(folder + group.files->usage);
    if (group.usage < 0) continue;  // the root of a hierarchy, or no group of memory
    group.stat = open_text(folder + "memory.stat");
    for (size_t i = 0; i < 2; ++i) {
      if (group.files->limits[i] != nullptr) group.limits[i] = open_text(folder + group.files->limits[i]);
    }
    groups_.push_back(group);
  }
  if (pressure_ < 0) pressure_ = open_text(base + "proc/pressure/memory");
}

MemoryWatch::~MemoryWatch() {
  const auto close_all = [](std::initializer_list<int> files) {
    for (const int file : files) {
      if (file >= 0) close(file);
    }
  };
  close_all({meminfo_, status_, stat_, pressure_});
  for (const Group& group : groups_) close_all({group.limits[0], group.limits[1], group.usage, group.stat});
}

std::string_view MemoryWatch::text_of(int file) {
  const ssize_t n = file < 0 ? 0 : pread(file, text_.data(), text_.size(), 0);
  return {text_.data(), n > 0 ? static_cast<size_t>(n) : 0};
}

// What a group's limit leaves; everything where it has none. v2 tells all limits in files, so that the statistics,
// which the kernel has to add up, are asked for where there is one alone.
uint64_t MemoryWatch::headroom_of(const Group& group) {
  uint64_t limit = ~uint64_t{0};
  for (const int file : group.limits) limit = std::min(limit, limit_in(parse_number(text_of(file))).value_or(limit));
  if (group.v2 && limit == ~uint64_t{0}) return limit;
  const uint64_t usage = parse_number(text_of(group.usage)).value_or(0);
  const std::string_view stat = text_of(group.stat);
  limit = std::min(limit, limit_in(find_number(stat, kHierarchicalLimit)).value_or(limit));
  uint64_t file_pages = 0;
  for (const char* line : group.files->file_pages) file_pages += find_number(stat, line).value_or(0);
  return limit == ~uint64_t{0} ? limit : minus(limit, minus(usage, file_pages));
}

MemoryPressure MemoryWatch::sample() {
  MemoryPressure now;
  if (const auto available = find_kib(text_of(meminfo_), "MemAvailable")) now.headroom_bytes = *available;
  for (const Group& group : groups_) now.headroom_bytes = std::min(now.headroom_bytes, headroom_of(group));
  const std::string_view status = text_of(status_);
  now.own_bytes = find_kib(status, "RssAnon").value_or(0);
  now.swapped_bytes = find_kib(status, "VmSwap").value_or(0);
  now.major_faults = major_faults_in(text_of(stat_));
  now.stalled_percent = stalled_in(text_of(pressure_));
  return now;
}

}  // namespace flashmoe
