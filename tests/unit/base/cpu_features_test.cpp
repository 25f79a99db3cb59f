#include "base/cpu_features.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace flashmoe {
namespace {

// What the kernel says of the first CPU behind this name, with a space at either end.
std::string listed(const std::string& name) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with(name)) return line.substr(line.find(':') + 1) + " ";
  }
  return " ";
}

std::string listed_flags() {
#if defined(__aarch64__)
  return listed("Features");
#else
  return listed("flags");
#endif
}

bool lists(const std::string& flags, const std::string& names) {
  std::istringstream words(names);
  for (std::string name; words >> name;) {
    if (flags.find(" " + name + " ") == std::string::npos) return false;
  }
  return true;
}

TEST(CpuFeatures, AgreeWithTheKernel) {
  const std::string flags = listed_flags();
  if (flags == " ") GTEST_SKIP() << "/proc/cpuinfo lists no features of this instruction set: emulated, as by qemu";
  EXPECT_EQ(cpu_features().avx2, lists(flags, "avx2 fma f16c bmi2"));
  EXPECT_EQ(cpu_features().avx_vnni, lists(flags, "avx2 fma f16c bmi2 avx_vnni"));
  EXPECT_EQ(cpu_features().avx512_vnni, lists(flags, "avx2 fma f16c bmi2 avx512f avx512bw avx512vl avx512_vnni"));
  EXPECT_EQ(
      cpu_features().avx512,
      lists(flags, "avx2 fma f16c bmi2 avx512f avx512bw avx512dq avx512vl avx512vbmi avx512_vnni avx512_bitalg gfni"));
  EXPECT_EQ(cpu_features().amd, lists(listed("vendor_id"), "AuthenticAMD"));
  EXPECT_EQ(cpu_features().neon, lists(flags, "asimd"));
  EXPECT_EQ(cpu_features().dotprod, lists(flags, "asimd asimddp"));
}

TEST(CpuFeatures, UsableCpusFollowTheAffinityMask) {
  const int before = usable_cpus();
  EXPECT_GE(before, 1);
  EXPECT_LE(before, static_cast<int>(std::thread::hardware_concurrency()));
  // On a thread of its own, so that the mask of the others stays.
  int with_one = 0;
  std::thread([&with_one] {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    with_one = usable_cpus();
  }).join();
  EXPECT_EQ(with_one, 1);
}

}  // namespace
}  // namespace flashmoe
