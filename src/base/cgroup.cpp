#include "base/cgroup.h"

#include <sstream>

#include "base/kernel_text.h"

namespace flashmoe {
namespace {

bool lists_controller(std::string_view controllers, std::string_view name) {
  while (true) {
    const size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == name) return true;
    if (comma == std::string_view::npos) return false;
    controllers.remove_prefix(comma + 1);
  }
}

// `path` and its ancestors below `mount`, then the mount point itself.
void add_ancestors(bool v2, const std::string& mount, std::string path, std::vector<Cgroup>& groups) {
  if (path.find("/..") != std::string::npos) path.clear();
  while (true) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    groups.push_back({v2, mount + path});
    if (path.empty()) return;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

std::vector<Cgroup> cgroups_with(std::string_view controller, const std::string& root) {
  std::vector<Cgroup> groups;
  const std::string base = root.ends_with('/') ? root : root + "/";
  std::istringstream lines(read_kernel_text(base + "proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(lines, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      add_ancestors(true, "sys/fs/cgroup", path, groups);
      add_ancestors(true, "sys/fs/cgroup/unified", path, groups);  // where hybrid systems mount it
    } else if (lists_controller(controllers, controller)) {
      add_ancestors(false, "sys/fs/cgroup/" + std::string(controller), path, groups);
      if (controllers != controller) add_ancestors(false, "sys/fs/cgroup/" + controllers, path, groups);
    }
  }
  return groups;
}

}  // namespace flashmoe
