#include "memory/memory_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/cgroup.h"
#include "base/kernel_text.h"

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

// A group that has a limit.
struct MemoryWatch::Group {
  uint64_t limit_bytes = 0;
  bool v2 = false;
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
    uint64_t limit = kUnlimited;
    for (const char* name : {"memory.max", "memory.high", "memory.limit_in_bytes"}) {
      limit = std::min(limit, read_number(folder + name).value_or(kUnlimited));
    }
    if (limit >= uint64_t{1} << 60) continue;
    groups_.push_back({.limit_bytes = limit,
                       .v2 = cgroup.v2,
                       .usage = open_text(folder + (cgroup.v2 ? "memory.current" : "memory.usage_in_bytes")),
                       .stat = open_text(folder + "memory.stat")});
  }
  if (pressure_ < 0) pressure_ = open_text(base + "proc/pressure/memory");
}

MemoryWatch::~MemoryWatch() {
  for (const int file : {meminfo_, status_, stat_, pressure_}) {
    if (file >= 0) close(file);
  }
  for (const Group& group : groups_) {
    if (group.usage >= 0) close(group.usage);
    if (group.stat >= 0) close(group.stat);
  }
}

std::string_view MemoryWatch::text_of(int file) {
  const ssize_t n = file < 0 ? 0 : pread(file, text_.data(), text_.size(), 0);
  return {text_.data(), n > 0 ? static_cast<size_t>(n) : 0};
}

MemoryPressure MemoryWatch::sample() {
  MemoryPressure now;
  if (const auto available = find_kib(text_of(meminfo_), "MemAvailable")) now.headroom_bytes = *available;
  for (const Group& group : groups_) {
    const uint64_t usage = parse_number(text_of(group.usage)).value_or(0);
    const std::string_view stat = text_of(group.stat);
    const uint64_t file_pages = find_number(stat, group.v2 ? "active_file" : "total_active_file").value_or(0) +
                                find_number(stat, group.v2 ? "inactive_file" : "total_inactive_file").value_or(0);
    now.headroom_bytes = std::min(now.headroom_bytes, minus(group.limit_bytes, minus(usage, file_pages)));
  }
  const std::string_view status = text_of(status_);
  now.own_bytes = find_kib(status, "RssAnon").value_or(0);
  now.swapped_bytes = find_kib(status, "VmSwap").value_or(0);
  now.major_faults = major_faults_in(text_of(stat_));
  now.stalled_percent = stalled_in(text_of(pressure_));
  return now;
}

}  // namespace flashmoe
