// What this machine and this process may use.
#pragma once

namespace flashmoe {

struct CpuFeatures {
  bool avx2 = false;         // AVX2, FMA, F16C, BMI2
  bool avx_vnni = false;     // and AVX-VNNI
  bool avx512_vnni = false;  // and AVX-512 F, BW, VL, VNNI
  bool avx512 = false;       // and DQ, VBMI, BITALG, GFNI
  bool amd = false;          // who made it: what memory needs differs, not what may be used
  bool neon = false;
  bool dotprod = false;  // NEON with int8 dot products (FEAT_DotProd)
};

const CpuFeatures& cpu_features();

// CPUs this process may run on: affinity mask, and the cgroup's quota rounded up. At least 1.
int usable_cpus();

}  // namespace flashmoe
