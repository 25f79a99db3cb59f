#include "memory/memory_limit.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/bytes.h"

namespace flashmoe {
namespace {

// A made-up "/", removed afterwards.
class MemoryLimitTest : public testing::Test {
 protected:
  MemoryLimitTest() {
    std::string pattern = testing::TempDir() + "/memory_limit_XXXXXX";
    root_ = mkdtemp(pattern.data());
    write("proc/meminfo", "MemTotal:       25165824 kB\nMemFree:         1000 kB\nMemAvailable:   20971520 kB\n");
  }
  ~MemoryLimitTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  MemoryLimit detect(const KernelMemory& kernel = {}) const { return detect_memory_limit(root_.string(), kernel); }

  std::filesystem::path root_;
};

TEST_F(MemoryLimitTest, WithoutCgroupsItIsWhatTheMachineHasAvailable) {
  EXPECT_EQ(detect().bytes, 20 * kGiB);
  EXPECT_EQ(detect().source, "available memory");
}

TEST_F(MemoryLimitTest, WhatTheProcessHoldsItselfIsNotTakenByOthers) {
  write("proc/self/status", "Name:\tx\nVmSize:\t  9000 kB\nRssAnon:\t 1048576 kB\n");
  EXPECT_EQ(detect().bytes, 21 * kGiB);
}

TEST_F(MemoryLimitTest, OldKernelsTellTheTotalOnly) {
  write("proc/meminfo", "MemTotal:       8388608 kB\n");
  EXPECT_EQ(detect().bytes, 8 * kGiB);
  EXPECT_EQ(detect().source, "installed memory");
}

TEST_F(MemoryLimitTest, V2TakesTheTightestAncestor) {
  write("proc/self/cgroup", "0::/user/me/app\n");
  write("sys/fs/cgroup/user/me/app/memory.max", "max\n");
  write("sys/fs/cgroup/user/me/app/memory.high", "max\n");
  write("sys/fs/cgroup/user/me/memory.max", "8589934592\n");
  write("sys/fs/cgroup/user/memory.max", "12884901888\n");
  EXPECT_EQ(detect().bytes, 8 * kGiB);
  EXPECT_EQ(detect().source, "cgroup /sys/fs/cgroup/user/me memory.max");
  write("sys/fs/cgroup/user/me/app/memory.high", "4294967296\n");
  EXPECT_EQ(detect().bytes, 4 * kGiB);
  EXPECT_EQ(detect().source, "cgroup /sys/fs/cgroup/user/me/app memory.high");
}

TEST_F(MemoryLimitTest, V2SubtractsOthersButNotPageCacheNorOneself) {
  write("proc/self/cgroup", "0::/box\n");
  write("proc/self/status", "RssAnon:\t 524288 kB\n");
  write("sys/fs/cgroup/box/memory.max", std::to_string(8 * kGiB));
  write("sys/fs/cgroup/box/memory.current", std::to_string(6 * kGiB));
  write("sys/fs/cgroup/box/memory.stat", "anon 1\nfile 2\nactive_file 1073741824\ninactive_file 2147483648\n");
  // 6 used - 3 of page cache - 0.5 our own = 2.5 of others
  EXPECT_EQ(detect().bytes, 8 * kGiB - 2 * kGiB - kGiB / 2);
}

TEST_F(MemoryLimitTest, AFullGroupLeavesNothing) {
  write("proc/self/cgroup", "0::/box\n");
  write("sys/fs/cgroup/box/memory.max", "1000\n");
  write("sys/fs/cgroup/box/memory.current", "5000\n");
  EXPECT_EQ(detect().bytes, 0u);
}

TEST_F(MemoryLimitTest, V1ReadsItsOwnControllerOverAllAncestors) {
  write("proc/self/cgroup", "9:name=systemd:/x\n5:cpu,cpuacct:/other\n4:hugetlb,memory:/a/b\n0::/\n");
  write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", std::to_string(6 * kGiB));
  write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", std::to_string(3 * kGiB));
  write("sys/fs/cgroup/memory/a/memory.stat",
        "cache 5\ntotal_inactive_file 1073741824\ntotal_active_file 1073741824\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n");
  EXPECT_EQ(detect().bytes, 5 * kGiB);
  EXPECT_EQ(detect().source, "cgroup /sys/fs/cgroup/memory/a memory.limit_in_bytes");
}

TEST_F(MemoryLimitTest, V1KnowsAncestorsThatAContainerCannotSee) {
  write("proc/self/cgroup", "4:memory:/docker/123\n");  // a path of the host: the mount point is our group
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 3221225472\n");
  EXPECT_EQ(detect().bytes, 3 * kGiB);
}

TEST_F(MemoryLimitTest, HybridSystemsAreAskedInBothPlaces) {
  write("proc/self/cgroup", "4:memory:/a\n0::/b\n");
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", std::to_string(7 * kGiB));
  EXPECT_EQ(detect().bytes, 7 * kGiB);
  write("sys/fs/cgroup/unified/b/memory.max", std::to_string(5 * kGiB));
  EXPECT_EQ(detect().bytes, 5 * kGiB);
  EXPECT_EQ(detect().source, "cgroup /sys/fs/cgroup/unified/b memory.max");
}

TEST_F(MemoryLimitTest, APathOutsideTheNamespaceFallsBackToTheMountPoint) {
  write("proc/self/cgroup", "0::/../../elsewhere\n");
  write("sys/fs/cgroup/memory.max", std::to_string(2 * kGiB));
  EXPECT_EQ(detect().bytes, 2 * kGiB);
}

TEST_F(MemoryLimitTest, AbsurdNumbersAreNoLimits) {
  write("proc/self/cgroup", "0::/box\nnonsense\n:\n");
  for (const char* text : {"", "\n", "banana", "-1", "99999999999999999999999999", "18446744073709551615"}) {
    write("sys/fs/cgroup/box/memory.max", text);
    write("sys/fs/cgroup/box/memory.current", text);
    EXPECT_EQ(detect().source, "available memory") << text;
    EXPECT_EQ(detect().bytes, 20 * kGiB) << text;
  }
  write("sys/fs/cgroup/box/memory.current", "0");
  write("sys/fs/cgroup/box/memory.max", "0");
  EXPECT_EQ(detect().bytes, 0u);
}

TEST_F(MemoryLimitTest, ResourceLimitsCountWhatIsMappedAlready) {
  write("proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max data size             unlimited            unlimited            bytes     \n"
        "Max address space         4294967296           unlimited            bytes     \n");
  write("proc/self/status", "VmSize:\t 1048576 kB\nRssAnon:\t 524288 kB\nVmData:\t 524288 kB\n");
  EXPECT_EQ(detect().bytes, 4 * kGiB - kGiB / 2);
  EXPECT_EQ(detect().source, "address space limit (ulimit -v)");
}

TEST_F(MemoryLimitTest, StacksToComeTakeAddressSpaceButNoMemory) {
  constexpr uint64_t kStacks = 256 * kMiB;
  EXPECT_EQ(detect_memory_limit(root_.string(), {}, kStacks).bytes, 20 * kGiB);
  write("proc/self/limits", "Max address space         4294967296           unlimited            bytes     \n");
  write("proc/self/status", "VmSize:\t 1048576 kB\nRssAnon:\t 524288 kB\n");
  EXPECT_EQ(detect_memory_limit(root_.string(), {}, kStacks).bytes, 4 * kGiB - kGiB / 2 - kStacks);
  EXPECT_EQ(detect_memory_limit(root_.string(), {}, 8 * kGiB).bytes, 0U);
}

TEST_F(MemoryLimitTest, AnEmptyRootKnowsNoLimit) {
  std::filesystem::remove_all(root_ / "proc");
  EXPECT_EQ(detect().bytes, ~uint64_t{0});
}

TEST_F(MemoryLimitTest, WithoutProcTheKernelIsAsked) {
  std::filesystem::remove_all(root_ / "proc");
  const KernelMemory told{.free_bytes = 3 * kGiB, .total_bytes = 8 * kGiB};
  EXPECT_EQ(detect(told).bytes, 3 * kGiB);
  EXPECT_EQ(detect(told).source, "free memory");
  EXPECT_EQ(detect({.total_bytes = 8 * kGiB}).source, "installed memory");
  EXPECT_EQ(detect({.free_bytes = 3 * kGiB, .address_space = kGiB}).source, "address space limit (ulimit -v)");
  EXPECT_EQ(detect({.free_bytes = 3 * kGiB, .data_size = kGiB}).bytes, kGiB);
}

TEST_F(MemoryLimitTest, WhatProcTellsIsNotAskedOfTheKernel) {
  write("proc/self/limits", "Max data size             unlimited            unlimited            bytes     \n");
  const KernelMemory told{
      .free_bytes = kGiB, .total_bytes = kGiB, .address_space = std::nullopt, .data_size = std::optional(kGiB)};
  EXPECT_EQ(detect(told).bytes, 20 * kGiB);
}

TEST(MemoryLimit, TheKernelTellsWhatThereIs) {
  const KernelMemory told = ask_kernel();
  ASSERT_TRUE(told.free_bytes && told.total_bytes);
  EXPECT_GT(*told.free_bytes, 0U);
  EXPECT_LE(*told.free_bytes, *told.total_bytes);
  EXPECT_LT(*told.total_bytes, uint64_t{1} << 60);
}

TEST(MemoryLimit, ThisMachineHasOne) {
  const MemoryLimit limit = detect_memory_limit();
  EXPECT_GT(limit.bytes, kMiB);
  EXPECT_LT(limit.bytes, uint64_t{1} << 60);
  EXPECT_FALSE(limit.source.empty());
}

}  // namespace
}  // namespace flashmoe
