// Random reads from one file at depths 1 to 64, past the page cache and through it: the engine's two queues, and what
// they do not use. A table for each size, GB/s over milliseconds of CPU time per GB; engines take turns, medians.
//   bench_io FILE [seconds=0.1] [read_bytes...]
// Buffered numbers tell of the disk only while the file is much larger than memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "io/read_queue.h"
#include "memory/buffer.h"
#include "registered_queue.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr int kMostDepth = 64;
constexpr int kRounds = 3;
constexpr std::array<uint64_t, 5> kUsualSizes = {64 * kKiB, 256 * kKiB, 576 * kKiB, 1200 * kKiB, 2304 * kKiB};

struct Target {
  int fd = -1;
  uint64_t file_bytes = 0;
  uint64_t read_bytes = 0;
  std::span<std::byte> memory;
};

struct Speed {
  double gb_per_s = 0, cpu_ms_per_gb = 0;
  bool operator<(const Speed& other) const { return gb_per_s < other.gb_per_s; }
};

struct Engine {
  const char* name;
  bool direct, small_pages;
  std::function<std::unique_ptr<ReadQueue>(int depth, const Target& target)> make;
};

const std::vector<Engine>& engines() {
  const auto uring = [](int depth, const Target&) { return make_uring_queue(depth); };
  const auto pread = [](int depth, const Target&) { return make_pread_queue(depth); };
  const auto registered = [](Polling polling) {
    return [polling](int depth, const Target& t) { return make_registered_queue(depth, t.fd, t.memory, polling); };
  };
  static const std::vector<Engine> all = {
      {"io_uring", true, false, uring},
      {"registered", true, false, registered(Polling::none)},
      {"sqpoll", true, false, registered(Polling::submission)},
      {"iopoll", true, false, registered(Polling::completion)},
      {"pread", true, false, pread},
      {"4k uring", true, true, uring},
      {"4k regist.", true, true, registered(Polling::none)},
      {"buf. uring", false, false, uring},
      {"buf. pread", false, false, pread},
  };
  return all;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + 1e-6 * double(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Keeps `depth` reads in flight for `seconds`; zeros when a read failed.
Speed measure(ReadQueue& queue, const Target& target, double seconds) {
  static std::mt19937_64 random(42);
  const uint64_t n_places = (target.file_bytes - target.read_bytes) / kBlock;
  const auto request = [&](uint64_t tag) {
    return ReadRequest{.fd = target.fd,
                       .offset = random() % n_places * kBlock,
                       .bytes = target.read_bytes,
                       .needed_bytes = target.read_bytes,
                       .dest = target.memory.data() + tag * target.read_bytes,
                       .tag = tag};
  };
  std::vector<ReadRequest> more;
  for (uint64_t tag = 0; tag < static_cast<uint64_t>(queue.depth()); ++tag) more.push_back(request(tag));
  const double cpu = cpu_seconds();
  const uint64_t start = now_ns();
  uint64_t bytes = 0;
  queue.submit(more);
  while (queue.pending() > 0) {
    const bool go_on = seconds_since(start) < seconds;
    more.clear();
    for (const ReadDone& done : queue.wait(true)) {
      if (done.error != 0) return {};
      bytes += target.read_bytes;
      if (go_on) more.push_back(request(done.tag));
    }
    if (!more.empty()) queue.submit(more);
  }
  const auto n = static_cast<double>(bytes);
  return {n / static_cast<double>(now_ns() - start), (cpu_seconds() - cpu) * 1e12 / n};
}

Speed median(std::array<Speed, kRounds> speeds) {
  std::sort(speeds.begin(), speeds.end());
  return speeds[kRounds / 2];
}

void print_row(const char* name, const std::vector<Speed>& speeds) {
  std::printf("%-11s", name);
  for (const Speed& speed : speeds) std::printf(" %8.2f", speed.gb_per_s);
  std::printf("\n%-11s", "");
  for (const Speed& speed : speeds) std::printf(" %8.1f", speed.cpu_ms_per_gb);
  std::printf("\n");
}

// [huge pages, small pages]
using Memories = std::array<std::span<std::byte>, 2>;

void run(const std::string& path, uint64_t read_bytes, double seconds, const Memories& memories) {
  std::printf("\nreads of %llu KiB, GB/s over CPU ms/GB\n%-11s", static_cast<unsigned long long>(read_bytes / kKiB),
              "depth");
  for (int depth = 1; depth <= kMostDepth; depth *= 2) std::printf(" %8d", depth);
  std::printf("\n");
  std::vector<std::vector<Speed>> rows(engines().size());
  std::array<int, 2> fds = {open(path.c_str(), O_RDONLY), open(path.c_str(), O_RDONLY | O_DIRECT)};
  struct stat info {};
  fstat(fds[0], &info);
  for (int depth = 1; depth <= kMostDepth; depth *= 2) {
    std::vector<std::array<Speed, kRounds>> speeds(rows.size());
    for (size_t round = 0; round < kRounds; ++round) {
      for (size_t e = 0; e < rows.size(); ++e) {
        const Engine& engine = engines()[e];
        const Target target{fds[engine.direct ? 1 : 0], static_cast<uint64_t>(info.st_size), read_bytes,
                            memories[engine.small_pages ? 1 : 0]};
        if (!engine.direct) posix_fadvise(target.fd, 0, 0, POSIX_FADV_DONTNEED);
        if (const auto queue = engine.make(depth, target)) speeds[e][round] = measure(*queue, target, seconds);
      }
    }
    for (size_t e = 0; e < rows.size(); ++e) rows[e].push_back(median(speeds[e]));
  }
  for (size_t e = 0; e < rows.size(); ++e) print_row(engines()[e].name, rows[e]);
  std::fflush(stdout);
  for (const int fd : fds) close(fd);
}

void run_all(const std::string& path, double seconds, std::vector<uint64_t> sizes) {
  if (sizes.empty()) sizes.assign(kUsualSizes.begin(), kUsualSizes.end());
  const uint64_t most = *std::max_element(sizes.begin(), sizes.end());
  struct stat info {};
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECT);
  if (fd < 0 || fstat(fd, &info) != 0 || static_cast<uint64_t>(info.st_size) <= most + kBlock) {
    std::printf("cannot read %s directly, or it is too small\n", path.c_str());
    return;
  }
  close(fd);
  Budget budget;
  budget.allot(Allotted::read_buffers, 2 * kMostDepth * most);
  Buffer huge(budget, Allotted::read_buffers, kMostDepth * most);
  Buffer small(budget, Allotted::read_buffers, kMostDepth * most);
  madvise(small.data(), small.size(), MADV_NOHUGEPAGE);
  for (Buffer* memory : {&huge, &small}) std::memset(memory->data(), 1, memory->size());
  for (const uint64_t bytes : sizes) run(path, bytes, seconds, {huge.span(), small.span()});
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FILE [seconds=0.1] [read_bytes...]\n", argv[0]);
    return 2;
  }
  try {
    std::vector<uint64_t> sizes;
    for (int i = 3; i < argc; ++i) {
      sizes.push_back(flashmoe::round_up(std::max(1ULL, std::strtoull(argv[i], nullptr, 10)), flashmoe::kBlock));
    }
    flashmoe::run_all(argv[1], argc > 2 ? std::strtod(argv[2], nullptr) : 0.1, sizes);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
