#pragma once

#include <cstdint>

namespace flashmoe {

// Resident set of this process in bytes, now and at its highest (VmRSS, VmHWM); 0 where the system does not tell.
uint64_t resident_set_bytes();
uint64_t peak_resident_set_bytes();
// The peak starts anew at what is resident now, where the kernel lets a process do that; else it stays.
void forget_peak_resident_set();

}  // namespace flashmoe
