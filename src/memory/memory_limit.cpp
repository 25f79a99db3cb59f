// Which bytes may this process use? The tightest of what the cgroups, the machine and its resource limits say.
#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "memory/budget.h"

namespace flashmoe {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
uint64_t plus(uint64_t a, uint64_t b) { return checked_add(a, b).value_or(kUnlimited); }

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The number at the start of `text`; a number beyond 64 bits and "max" are no limit, anything else is no number.
std::optional<uint64_t> parse_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  text.remove_prefix(first);
  if (text.starts_with("max") || text.starts_with("unlimited")) return kUnlimited;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return kUnlimited;
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

std::optional<uint64_t> read_number(const std::string& path) {
  const auto text = read_text(path);
  return text ? parse_number(*text) : std::nullopt;
}

// The number after `key` at the start of a line.
std::optional<uint64_t> find_number(std::string_view text, std::string_view key) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.starts_with(key) && line.size() > key.size() &&
        (line[key.size()] == ' ' || line[key.size()] == ':' || line[key.size()] == '\t')) {
      return parse_number(line.substr(key.size() + 1));
    }
    at = end + 1;
  }
  return std::nullopt;
}

// "Key:   123 kB" lines of proc files.
std::optional<uint64_t> find_kib(std::string_view text, std::string_view key) {
  const auto value = find_number(text, key);
  if (!value || *value > kUnlimited / kKiB) return std::nullopt;
  return *value * kKiB;
}

// What this process holds already: limits bound it too, but it is not taken by others.
struct Own {
  uint64_t anonymous = 0, address_space = 0, data = 0;
};

Own read_own(const std::string& root) {
  const std::string status = read_text(root + "proc/self/status").value_or("");
  return {.anonymous = find_kib(status, "RssAnon").value_or(0),
          .address_space = find_kib(status, "VmSize").value_or(0),
          .data = find_kib(status, "VmData").value_or(0)};
}

struct CgroupFiles {
  const char* controller;  // in /proc/self/cgroup; "" is v2
  const char* limits[2];
  const char* usage;
  const char* file_pages[2];  // lines of memory.stat: page cache, which the kernel takes back when asked for memory
};

constexpr CgroupFiles kV1 = {"memory",
                             {"memory.limit_in_bytes", nullptr},
                             "memory.usage_in_bytes",
                             {"total_active_file", "total_inactive_file"}};
constexpr CgroupFiles kV2 = {"", {"memory.max", "memory.high"}, "memory.current", {"active_file", "inactive_file"}};

void tighten(MemoryLimit& limit, uint64_t bytes, const std::string& source) {
  if (bytes < limit.bytes) limit = {bytes, source};
}

// One cgroup: its limit, less what the other processes in it hold and the kernel cannot take back.
void apply_cgroup(const std::string& root, const std::string& folder, const CgroupFiles& files, const Own& own,
                  MemoryLimit& limit) {
  const std::string real = root + folder + "/";
  const std::string stat = read_text(real + "memory.stat").value_or("");
  const uint64_t usage = read_number(real + files.usage).value_or(0);
  uint64_t reclaimable = 0;
  for (const char* line : files.file_pages) reclaimable = plus(reclaimable, find_number(stat, line).value_or(0));
  const uint64_t others = minus(minus(usage, reclaimable), own.anonymous);
  for (const char* name : files.limits) {
    const auto bytes = name == nullptr ? std::nullopt : read_number(real + name);
    // v1 writes "no limit" as the largest multiple of the page size in a signed 64-bit number.
    if (bytes && *bytes < uint64_t{1} << 60) tighten(limit, minus(*bytes, others), "cgroup /" + folder + " " + name);
  }
  // v1 tells the tightest of all ancestors here, those a container cannot see included.
  const auto ancestors = find_number(stat, "hierarchical_memory_limit");
  if (ancestors && *ancestors < uint64_t{1} << 60) {
    tighten(limit, minus(*ancestors, others), "cgroup /" + folder + " memory.stat hierarchical_memory_limit");
  }
}

// `path` and all its ancestors below `mount`, the mount point itself included. In a container the path may name a
// group of the host that is not visible; then the mount point is the container's own group.
void apply_ancestors(const std::string& root, const std::string& mount, std::string path, const CgroupFiles& files,
                     const Own& own, MemoryLimit& limit) {
  if (path.find("/..") != std::string::npos) path.clear();
  while (true) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    apply_cgroup(root, mount + path, files, own, limit);
    if (path.empty()) return;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

bool lists_controller(std::string_view controllers, std::string_view name) {
  while (true) {
    const size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == name) return true;
    if (comma == std::string_view::npos) return false;
    controllers.remove_prefix(comma + 1);
  }
}

void apply_cgroups(const std::string& root, const Own& own, MemoryLimit& limit) {
  std::istringstream lines(read_text(root + "proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(lines, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      apply_ancestors(root, "sys/fs/cgroup", path, kV2, own, limit);
      apply_ancestors(root, "sys/fs/cgroup/unified", path, kV2, own, limit);  // where hybrid systems mount it
    } else if (lists_controller(controllers, kV1.controller)) {
      apply_ancestors(root, "sys/fs/cgroup/memory", path, kV1, own, limit);
    }
  }
}

void apply_machine(const std::string& root, const Own& own, MemoryLimit& limit) {
  const std::string meminfo = read_text(root + "proc/meminfo").value_or("");
  if (const auto available = find_kib(meminfo, "MemAvailable")) {
    tighten(limit, plus(*available, own.anonymous), "available memory");
  } else if (const auto total = find_kib(meminfo, "MemTotal")) {
    tighten(limit, *total, "installed memory");
  }
}

void apply_resource_limits(const std::string& root, const Own& own, MemoryLimit& limit) {
  const std::string limits = read_text(root + "proc/self/limits").value_or("");
  const auto apply = [&](const char* key, uint64_t in_use, const char* source) {
    const auto bytes = find_number(limits, key);
    if (bytes && *bytes < kUnlimited) tighten(limit, minus(*bytes, minus(in_use, own.anonymous)), source);
  };
  apply("Max address space", own.address_space, "address space limit (ulimit -v)");
  apply("Max data size", own.data, "data size limit (ulimit -d)");
}

}  // namespace

MemoryLimit detect_memory_limit(const std::string& root) {
  const std::string base = root.ends_with('/') ? root : root + "/";
  const Own own = read_own(base);
  MemoryLimit limit{kUnlimited, "no limit found"};
  apply_machine(base, own, limit);
  apply_cgroups(base, own, limit);
  apply_resource_limits(base, own, limit);
  return limit;
}

}  // namespace flashmoe
