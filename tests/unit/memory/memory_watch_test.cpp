#include "memory/memory_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

class MemoryWatchTest : public testing::Test {
 protected:
  MemoryWatchTest() {
    write("proc/meminfo", "MemTotal:       25165824 kB\nMemAvailable:   20971520 kB\n");
    write("proc/self/stat", "12 (a ) b) S 1 2 3 4 5 6 7 8 4321 10 11\n");
    write("proc/self/status", "Name:\tx\nRssAnon:\t    40 kB\nRssFile:\t    9 kB\nVmSwap:\t    12 kB\n");
  }
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = std::filesystem::path(folder_.path()) / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  MemoryPressure sample() { return MemoryWatch(folder_.path()).sample(); }

  TempDir folder_;
};

TEST_F(MemoryWatchTest, WithoutCgroupsTheMachineSpeaks) {
  const MemoryPressure now = sample();
  EXPECT_EQ(now.headroom_bytes, 20 * kGiB);
  EXPECT_EQ(now.own_bytes, 40 * kKiB);
  EXPECT_EQ(now.swapped_bytes, 12 * kKiB);
  EXPECT_EQ(now.major_faults, 4321u);
  EXPECT_EQ(now.stalled_percent, 0);
}

TEST_F(MemoryWatchTest, TheTightestGroupCountsWithoutItsPageCache) {
  write("proc/self/cgroup", "0::/user/app\n");
  write("sys/fs/cgroup/user/app/memory.max", "max\n");
  write("sys/fs/cgroup/user/memory.max", std::to_string(8 * kGiB));
  write("sys/fs/cgroup/user/memory.current", std::to_string(7 * kGiB));
  write("sys/fs/cgroup/user/memory.stat", "anon 1\nactive_file 1073741824\ninactive_file 1073741824\n");
  EXPECT_EQ(sample().headroom_bytes, 3 * kGiB);
}

TEST_F(MemoryWatchTest, V1CountsTheWholeHierarchyOfAGroup) {
  write("proc/self/cgroup", "4:memory:/a\n");
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", std::to_string(4 * kGiB));
  write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", std::to_string(5 * kGiB));
  write("sys/fs/cgroup/memory/a/memory.stat", "active_file 5\ntotal_active_file 1073741824\ntotal_inactive_file 0\n");
  EXPECT_EQ(sample().headroom_bytes, 0u);
  write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", std::to_string(3 * kGiB));
  EXPECT_EQ(sample().headroom_bytes, 2 * kGiB);
}

// In a container that sees its own group alone.
TEST_F(MemoryWatchTest, V1TellsTheLimitOfAncestorsThatCannotBeSeen) {
  write("proc/self/cgroup", "4:memory:/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(3 * kGiB));
  write("sys/fs/cgroup/memory/memory.stat", "total_active_file 0\nhierarchical_memory_limit 4294967296\n");
  EXPECT_EQ(sample().headroom_bytes, kGiB);
}

TEST_F(MemoryWatchTest, LimitsMayChangeWhileTheProcessRuns) {
  write("proc/self/cgroup", "0::/app\n");
  write("sys/fs/cgroup/app/memory.max", "max\n");
  write("sys/fs/cgroup/app/memory.current", std::to_string(3 * kGiB));
  write("sys/fs/cgroup/app/memory.stat", "anon 1\n");
  MemoryWatch watch(folder_.path());
  EXPECT_EQ(watch.sample().headroom_bytes, 20 * kGiB);
  write("sys/fs/cgroup/app/memory.max", std::to_string(4 * kGiB));
  EXPECT_EQ(watch.sample().headroom_bytes, kGiB);
  write("sys/fs/cgroup/app/memory.max", std::to_string(8 * kGiB));
  EXPECT_EQ(watch.sample().headroom_bytes, 5 * kGiB);
}

TEST_F(MemoryWatchTest, TheNearestPressureFileIsRead) {
  write("proc/pressure/memory", "some avg10=7.25 avg60=0.00\nfull avg10=1.00\n");
  EXPECT_EQ(sample().stalled_percent, 7.25);
  write("proc/self/cgroup", "0::/app\n");
  write("sys/fs/cgroup/app/memory.pressure", "some avg10=33.50 avg60=0.00\n");
  EXPECT_EQ(sample().stalled_percent, 33.5);
}

TEST_F(MemoryWatchTest, SamplesFollowTheFiles) {
  MemoryWatch watch(folder_.path());
  EXPECT_EQ(watch.sample().headroom_bytes, 20 * kGiB);
  write("proc/meminfo", "MemAvailable:   1048576 kB\n");
  EXPECT_EQ(watch.sample().headroom_bytes, kGiB);
}

TEST_F(MemoryWatchTest, DamagedFilesTellNothing) {
  write("proc/meminfo", "banana\n");
  write("proc/self/stat", "12 (a");
  write("proc/self/status", "");
  write("proc/pressure/memory", "some avg10=x");
  const MemoryPressure now = sample();
  EXPECT_EQ(now.headroom_bytes, ~uint64_t{0});
  EXPECT_EQ(now.major_faults, 0u);
  EXPECT_EQ(now.swapped_bytes, 0u);
  EXPECT_EQ(now.stalled_percent, 0);
}

TEST(MemoryWatch, ThisMachineHasHeadroom) {
  MemoryWatch watch;
  const MemoryPressure now = watch.sample();
  EXPECT_GT(now.headroom_bytes, kMiB);
  EXPECT_LT(now.headroom_bytes, uint64_t{1} << 60);
}

}  // namespace
}  // namespace flashmoe
