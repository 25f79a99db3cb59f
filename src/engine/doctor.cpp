#include "flashmoe/doctor.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "base/bytes.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "base/kernel_text.h"
#include "engine/doctor_files.h"
#include "engine/engine_parts.h"
#include "engine/findings.h"
#include "engine/roof_probe.h"
#include "flashmoe/engine.h"
#include "flashmoe/machine.h"
#include "io/read_queue.h"
#include "kernels/kernels.h"
#include "memory/memory_limit.h"

namespace flashmoe {
namespace {

constexpr double kSlowDiskGbPerS = 1.0;  // below this a drive or its connection is not what SSDs have been for years
constexpr double kSlowRamGbPerS = 10.0;  // of one channel of DDR4
constexpr uint64_t kLeastFiles = 1024;   // descriptors: two for each file of a model, and the libraries' own
constexpr uint64_t kLeastLocked = 8 * kMiB;

Finding check_cpu() {
  const int usable = usable_cpus();
  const auto there = static_cast<int>(std::thread::hardware_concurrency());
  const std::string name = best_kernels().name;
  Finding f{"cpu", Verdict::good,
            fmt::format("{}, {} CPU{} usable, {} kernels", cpu_name(), usable, usable == 1 ? "" : "s", name), ""};
  if (name == "scalar") {
    f.verdict = Verdict::problem;
    f.mend = "needs a CPU with AVX2 to be fast; in a virtual machine, pass the host's CPU features through";
  } else if (usable < there) {
    f.verdict = Verdict::note;
    f.found += fmt::format(" ({} there)", there);
    f.mend = "raise the CPU affinity or the cgroup's CPU quota of this process to use all of them";
  }
  return f;
}

Finding check_memory(const EngineOptions& options) {
  const MemoryLimit limit = detect_memory_limit();
  Finding f{"memory", Verdict::good, fmt::format("{} can be used ({})", human_bytes(limit.bytes), limit.source), ""};
  if (options.ram_bytes > limit.bytes) {
    f.verdict = Verdict::problem;
    f.mend = fmt::format("--ram asks for {}; ask for less, or raise that limit", human_bytes(options.ram_bytes));
  } else if (limit.source.starts_with("cgroup")) {
    f.verdict = Verdict::note;
    f.mend = "raise this cgroup's limit to give experts more room";
  }
  return f;
}

Finding check_io_uring() {
  Finding f{"io_uring", Verdict::good, "works", ""};
  try {
    make_uring_queue(8);
  } catch (const Error& error) {
    const uint64_t disabled = read_number("/proc/sys/kernel/io_uring_disabled").value_or(0);
    f.verdict = Verdict::problem;
    f.found = error.what();
    f.mend = disabled != 0 ? "sysctl -w kernel.io_uring_disabled=0"
                           : "needs Linux 5.1 and, in a container, a seccomp profile that allows io_uring_setup";
  }
  return f;
}

Finding check_open_files() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  Finding f{"open files", Verdict::good, fmt::format("limit {}", limit.rlim_cur), ""};
  if (limit.rlim_cur < kLeastFiles) {
    f.verdict = Verdict::problem;
    f.mend = fmt::format("ulimit -n {}: a model in many files needs two descriptors for each", kLeastFiles);
  }
  return f;
}

Finding check_locked_memory() {
  rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  const bool unlimited = limit.rlim_cur == RLIM_INFINITY;
  Finding f{"locked memory", Verdict::good, unlimited ? "no limit" : "limit " + human_bytes(limit.rlim_cur), ""};
  if (!unlimited && limit.rlim_cur < kLeastLocked) {
    f.verdict = Verdict::note;
    f.mend = "ulimit -l 65536: the rings of io_uring count against it, of all processes of a user together";
  }
  return f;
}

Finding check_ram_speed(const Roofs& roofs) {
  Finding f{"RAM speed", Verdict::good, fmt::format("{:.1f} GB/s", roofs.ram_gb_per_s), ""};
  if (roofs.ram_gb_per_s < kSlowRamGbPerS) {
    f.verdict = Verdict::problem;
    f.mend = "use all memory channels and all threads, and stop what else runs; decode is as fast as memory is";
  }
  return f;
}

Finding check_disk_speed(const Forecast& forecast, const Roofs& roofs) {
  Finding f{"disk speed", Verdict::good, fmt::format("{:.2f} GB/s, {}", roofs.disk_gb_per_s, roofs.io_mode), ""};
  if (roofs.disk_gb_per_s >= kSlowDiskGbPerS) return f;
  f.verdict = forecast.plan.experts_resident ? Verdict::note : Verdict::problem;
  f.mend = "move the model to an NVMe drive, or give it memory enough for all experts";
  return f;
}

Finding check_speed(const Forecast& f) {
  const std::string decode = f.plan.experts_resident
                                 ? fmt::format("decode {:.1f} tok/s with all experts in memory", f.decode_warm)
                                 : fmt::format("decode {:.1f} tok/s warm, {:.1f} cold", f.decode_warm, f.decode_cold);
  return {"speed", Verdict::good, fmt::format("{}; prefill {:.0f} tok/s", decode, f.prefill), ""};
}

Roofs measure_memory(const EngineOptions& options) {
  constexpr uint64_t kWorkingSet = 512 * kMiB;
  ThreadPool pool(options.n_threads > 0 ? options.n_threads : usable_cpus());
  Roofs roofs;
  roofs.ram_gb_per_s = measure_ram(pool, std::min(kWorkingSet, detect_memory_limit().bytes / 4), options.keep_going);
  return roofs;
}

void check_text(const ModelReport& model, std::vector<Finding>& findings) {
  if (!model.has_tokenizer) {
    findings.push_back({"tokenizer", Verdict::problem, "the model has none: it can compute, but not read or write text",
                        "fetch tokenizer.json (or the files it is made of) into the model's folder"});
  } else if (!model.has_chat_template) {
    findings.push_back({"chat template", Verdict::note, "the model has none",
                        "fetch chat_template.jinja and tokenizer_config.json, or use --raw if it is a base model"});
  } else {
    findings.push_back({"text", Verdict::good, "tokenizer and chat template are there", ""});
  }
}

// Reads what every token needs, which finds vectors with values that are not numbers, and wrong checksums where there
// are some to compare.
Finding check_weights(Engine& engine) {
  try {
    engine.load();
  } catch (const Error& error) {
    if (error.fault() == Fault::interrupted) throw;
    return finding_of("weights", error);
  }
  return {
      "weights", Verdict::good,
      fmt::format("the {} that every token needs were read: vectors are finite, and checksums, where there are any, "
                  "are right; experts were not read",
                  human_bytes(engine.report().trunk_bytes - engine.memory_plan().left_in_file_bytes)),
      ""};
}

// The model, the file system and disk it lies on, and what they mean together.
void check_model(const EngineOptions& options, Examination& result) {
  auto& findings = result.findings;
  if (auto partial = check_downloads(options.model_path)) findings.push_back(*partial);
  try {
    const auto engine = open_parted(options);
    const ModelReport& model = engine->report();
    findings.push_back(
        {"model", Verdict::good,
         fmt::format("{}, {}, all {} tensors there", model.family, human_bytes(model.file_bytes), model.n_tensors),
         ""});
    check_text(model, findings);
    const auto checkpoint = Checkpoint::open(options.model_path);
    check_holes(*checkpoint, findings);
    check_mirrors(*checkpoint, options.mirrors, findings);
    for (const std::string& path : model.files) {
      Finding direct = check_direct(path);
      const bool good = direct.verdict == Verdict::good;
      if (!good || path == model.files.back()) findings.push_back(std::move(direct));
      if (!good) break;
    }
    Forecast forecast = engine->forecast(512, 64);
    const Roofs roofs =
        forecast.plan.experts_resident ? engine->measure_roofs({.ram = false, .int8 = false}) : forecast.speeds.roofs;
    findings.push_back(check_disk_speed(forecast, roofs));
    findings.push_back(check_speed(forecast));
    result.forecast = std::move(forecast);
    findings.push_back(check_weights(*engine));
  } catch (const Error& error) {
    if (error.fault() == Fault::interrupted) throw;
    findings.push_back(error.fault() == Fault::memory_floor
                           ? Finding{"memory plan", Verdict::problem, "below what this model needs at least",
                                     "flashmoe plan shows how much; raise --ram or shorten --ctx"}
                           : finding_of("model", error));
  }
}

}  // namespace

Examination examine(const EngineOptions& options) {
  Examination result;
  result.findings = {check_cpu(),      check_memory(options), check_huge_pages("/"), check_swap("/"),
                     check_io_uring(), check_open_files(),    check_locked_memory()};
  if (auto proc = check_proc("/")) result.findings.push_back(*proc);
  if (!options.model_path.empty()) check_model(options, result);
  const Roofs roofs = result.forecast ? result.forecast->speeds.roofs : measure_memory(options);
  result.findings.push_back(check_ram_speed(roofs));
  return result;
}

}  // namespace flashmoe
