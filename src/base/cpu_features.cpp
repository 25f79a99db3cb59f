#include "base/cpu_features.h"

#include <sched.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "base/cgroup.h"

namespace flashmoe {
namespace {

CpuFeatures detect() {
  CpuFeatures found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
               __builtin_cpu_supports("bmi2");
  unsigned a = 0, b = 0, c = 0, d = 0;
  found.avx_vnni = found.avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & bit_AVXVNNI) != 0;
  found.avx512_vnni = found.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  found.avx512 = found.avx512_vnni && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
                 __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("gfni");
  found.amd = __builtin_cpu_is("amd");
#elif defined(__aarch64__)
  const unsigned long listed = getauxval(AT_HWCAP);
  found.neon = (listed & HWCAP_ASIMD) != 0;
  found.dotprod = found.neon && (listed & HWCAP_ASIMDDP) != 0;
#endif
  return found;
}

// Quota in CPUs of one cgroup, or kNoQuota.
constexpr double kNoQuota = 1e9;

double quota_of(const Cgroup& group) {
  const std::string folder = "/" + group.folder;
  double quota = 0, period = 0;
  if (group.v2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;  // "max 100000" leaves both 0
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNoQuota;
}

// The smallest quota over this process's cgroup and its ancestors.
double cgroup_cpus() {
  double least = kNoQuota;
  for (const Cgroup& group : cgroups_with("cpu")) least = std::min(least, quota_of(group));
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
  if (quota < kNoQuota) n = std::min(n, static_cast<int>(std::ceil(quota)));
  return std::max(n, 1);
}

}  // namespace flashmoe
