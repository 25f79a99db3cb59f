#include "base/cpu_features.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

namespace flashmoe {
namespace {

CpuFeatures detect() {
  CpuFeatures found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
               __builtin_cpu_supports("bmi2");
  found.avx512 = found.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
#endif
  return found;
}

// Quota in CPUs from one cgroup folder (v2 cpu.max, v1 cpu.cfs_*), or a huge number where there is none.
double quota_of(const std::string& folder) {
  constexpr double kNone = 1e9;
  std::ifstream v2(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period) return quota == "max" || period <= 0 ? kNone : std::stod(quota) / period;
  std::ifstream v1_quota(folder + "/cpu.cfs_quota_us"), v1_period(folder + "/cpu.cfs_period_us");
  double microseconds = 0;
  if (v1_quota >> microseconds && v1_period >> period && microseconds > 0 && period > 0) return microseconds / period;
  return kNone;
}

// The smallest quota over this process's cgroup and its ancestors.
double cgroup_cpus() {
  double least = 1e9;
  std::ifstream self("/proc/self/cgroup");
  for (std::string line; std::getline(self, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    std::string mount;
    if (controllers.empty()) {
      mount = "/sys/fs/cgroup";
    } else if (controllers == "cpu" || controllers == "cpu,cpuacct") {
      mount = "/sys/fs/cgroup/" + controllers;
    } else {
      continue;
    }
    while (true) {
      least = std::min(least, quota_of(mount + path));
      if (path.size() <= 1) break;
      path.resize(std::max<size_t>(path.rfind('/'), 1));
      if (path == "/") path.clear();
    }
  }
  return least;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  const double quota = cgroup_cpus();
  if (quota < 1e8) n = std::min(n, static_cast<int>(std::ceil(quota)));
  return std::max(n, 1);
}

}  // namespace flashmoe
