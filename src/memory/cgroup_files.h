// What the files of a memory cgroup are called, v1 and v2.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/cgroup.h"
#include "base/kernel_text.h"

namespace flashmoe {

struct CgroupFiles {
  const char* limits[2];
  const char* usage;
  const char* file_pages[2];  // lines of memory.stat: page cache, which the kernel takes back when asked for memory
};

inline constexpr CgroupFiles kCgroupV1 = {
    {"memory.limit_in_bytes", nullptr}, "memory.usage_in_bytes", {"total_active_file", "total_inactive_file"}};
inline constexpr CgroupFiles kCgroupV2 = {
    {"memory.max", "memory.high"}, "memory.current", {"active_file", "inactive_file"}};

inline const CgroupFiles& files_of(const Cgroup& cgroup) { return cgroup.v2 ? kCgroupV2 : kCgroupV1; }

// v1 writes "no limit" as the largest multiple of the page size in a signed 64-bit number, v2 as a word.
inline std::optional<uint64_t> limit_in(std::optional<uint64_t> number) {
  return number && *number < uint64_t{1} << 60 ? number : std::nullopt;
}

// v1 tells the tightest limit of all ancestors in memory.stat, those a container cannot see included.
inline constexpr const char* kHierarchicalLimit = "hierarchical_memory_limit";

}  // namespace flashmoe
