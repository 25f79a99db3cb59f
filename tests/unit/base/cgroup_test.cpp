#include "base/cgroup.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/temp_dir.h"

namespace flashmoe {
namespace {

std::vector<std::string> folders(const std::string& self, std::string_view controller) {
  const TempDir root;
  std::filesystem::create_directories(root.path() + "/proc/self");
  std::ofstream(root.path() + "/proc/self/cgroup") << self;
  std::vector<std::string> found;
  for (const Cgroup& group : cgroups_with(controller, root.path())) {
    found.push_back((group.v2 ? "2 " : "1 ") + group.folder);
  }
  return found;
}

using Folders = std::vector<std::string>;

TEST(Cgroup, OwnGroupFirstThenItsAncestors) {
  EXPECT_EQ(folders("4:memory:/a/b\n", "memory"),
            (Folders{"1 sys/fs/cgroup/memory/a/b", "1 sys/fs/cgroup/memory/a", "1 sys/fs/cgroup/memory"}));
}

TEST(Cgroup, V2HasEveryController) {
  EXPECT_EQ(folders("0::/a\n", "cpu"),
            (Folders{"2 sys/fs/cgroup/a", "2 sys/fs/cgroup", "2 sys/fs/cgroup/unified/a", "2 sys/fs/cgroup/unified"}));
}

TEST(Cgroup, ControllersMountedTogetherAreFoundUnderBothNames) {
  EXPECT_EQ(folders("3:cpu,cpuacct:/\n2:cpuset:/x\n", "cpu"),
            (Folders{"1 sys/fs/cgroup/cpu", "1 sys/fs/cgroup/cpu,cpuacct"}));
}

TEST(Cgroup, APathOutsideTheNamespaceIsTheMountPoint) {
  EXPECT_EQ(folders("4:memory:/../../elsewhere\n", "memory"), (Folders{"1 sys/fs/cgroup/memory"}));
}

TEST(Cgroup, NonsenseIsSkipped) { EXPECT_TRUE(folders("nonsense\n:\n\n9:name=systemd:/x\n", "memory").empty()); }

}  // namespace
}  // namespace flashmoe
