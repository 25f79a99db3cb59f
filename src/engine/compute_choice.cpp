#include "engine/compute_choice.h"

#include "base/check.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "base/thread.h"

namespace flashmoe {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kOtherThreads = 20;  // at most, that read from a drive or take memory in the background

const char* kernels_name(KernelChoice choice) {
  switch (choice) {
    case KernelChoice::automatic:
      return best_kernels().name;
    case KernelChoice::scalar:
      return "scalar";
    case KernelChoice::avx2:
      return "avx2";
    case KernelChoice::avxvnni:
      return "avxvnni";
    case KernelChoice::avx512:
      return "avx512";
    case KernelChoice::neon:
      return "neon";
  }
  CHECK(false);
}

}  // namespace

const KernelTable& choose_kernels(KernelChoice choice) {
  const char* name = kernels_name(choice);
  const auto table = kernels_by_name(name);
  if (!table) fail(Fault::usage, "--kernels {}: this machine cannot run them", name);
  return **table;
}

int choose_threads(int wanted) {
  if (wanted < 0 || wanted > kMaxThreads) fail(Fault::usage, "--threads {}: expected 1 to {}", wanted, kMaxThreads);
  return wanted == 0 ? usable_cpus() : wanted;
}

uint64_t stack_bytes(int n_computing) {
  return static_cast<uint64_t>(n_computing + kOtherThreads) * Thread::kStackBytes;
}

}  // namespace flashmoe
