#include "engine/peak_memory.h"

#include <sys/resource.h>

#include <fstream>
#include <string>

namespace flashmoe {
namespace {

uint64_t status_kib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    uint64_t kib = 0;
    if (name == field && status >> kib) return kib;
    status.ignore(4096, '\n');
  }
  return 0;
}

}  // namespace

uint64_t resident_set_bytes() { return status_kib("VmRSS:") * 1024; }
uint64_t peak_resident_set_bytes() {
  if (const uint64_t kib = status_kib("VmHWM:"); kib > 0) return kib * 1024;
  rusage usage = {};  // where no descriptor is left: of the whole life of the process
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}
void forget_peak_resident_set() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace flashmoe
