// The control groups that this process is in, v1 and v2.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

struct Cgroup {
  bool v2 = false;
  std::string folder;  // "sys/fs/cgroup/user/me", below the root
};

// The process's own group and all its ancestors, the mount points included, in every hierarchy that has `controller`
// ("memory", "cpu"). A path of the host that a container cannot see stands for the mount point alone. Folders need not
// exist. `root` replaces "/" in tests.
std::vector<Cgroup> cgroups_with(std::string_view controller, const std::string& root = "/");

}  // namespace flashmoe
