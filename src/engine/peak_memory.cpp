#include "engine/peak_memory.h"

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
uint64_t peak_resident_set_bytes() { return status_kib("VmHWM:") * 1024; }
void forget_peak_resident_set() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace flashmoe
