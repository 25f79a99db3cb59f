// Random reads of one size from one file: io_uring and pread threads, direct and buffered, at depths 1 to 64.
//   bench_io FILE [read_bytes=589824] [seconds=2]
// Buffered numbers tell of the disk only while the file is much larger than memory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "io/read_queue.h"
#include "memory/buffer.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr int kMostDepth = 64;

struct Target {
  int fd = -1;
  uint64_t file_bytes = 0;
  uint64_t read_bytes = 0;
};

// Keeps 2 * depth reads submitted for `seconds`; GB/s, or -1 when a read failed.
double measure(ReadQueue& queue, const Target& target, Buffer& memory, double seconds) {
  std::mt19937_64 random(42);
  const uint64_t n_places = (target.file_bytes - target.read_bytes) / kBlock;
  const auto request = [&](uint64_t tag) {
    return ReadRequest{.fd = target.fd,
                       .offset = random() % n_places * kBlock,
                       .bytes = target.read_bytes,
                       .needed_bytes = target.read_bytes,
                       .dest = memory.data() + tag * target.read_bytes,
                       .tag = tag};
  };
  const uint64_t n_submitted = static_cast<uint64_t>(queue.depth());
  const uint64_t start = now_ns();
  for (uint64_t tag = 0; tag < n_submitted; ++tag) {
    const ReadRequest first = request(tag);
    queue.submit({&first, 1});
  }
  uint64_t bytes = 0;
  std::vector<ReadRequest> more;
  while (queue.pending() > 0) {
    const bool go_on = seconds_since(start) < seconds;
    more.clear();
    for (const ReadDone& done : queue.wait(true)) {
      if (done.error != 0) return -1;
      bytes += target.read_bytes;
      if (go_on) more.push_back(request(done.tag));
    }
    if (!more.empty()) queue.submit(more);
  }
  return static_cast<double>(bytes) / static_cast<double>(now_ns() - start);
}

void run(const std::string& path, uint64_t read_bytes, double seconds) {
  Budget budget;
  budget.allot(Allotted::read_buffers, kMostDepth * read_bytes);
  Buffer memory(budget, Allotted::read_buffers, kMostDepth * read_bytes);
  std::printf("%s, random reads of %s, GB/s\n%-9s %-9s", path.c_str(), human_bytes(read_bytes).c_str(), "queue",
              "mode");
  for (int depth = 1; depth <= kMostDepth; depth *= 2) std::printf(" %6d", depth);
  std::printf("\n");
  for (const bool direct : {true, false}) {
    const int fd = open(path.c_str(), O_RDONLY | (direct ? O_DIRECT : 0));
    struct stat info {};
    if (fd < 0 || fstat(fd, &info) != 0 || static_cast<uint64_t>(info.st_size) <= read_bytes + kBlock) {
      std::printf("cannot read %s%s, or it is too small\n", path.c_str(), direct ? " directly" : "");
      continue;
    }
    const Target target{fd, static_cast<uint64_t>(info.st_size), read_bytes};
    for (const auto& make : {make_uring_queue, make_pread_queue}) {
      const auto name = make(1);
      std::printf("%-9s %-9s", name->name(), direct ? "direct" : "buffered");
      for (int depth = 1; depth <= kMostDepth; depth *= 2) {
        if (!direct) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        std::printf(" %6.2f", measure(*make(depth), target, memory, seconds));
        std::fflush(stdout);
      }
      std::printf("\n");
    }
    close(fd);
  }
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FILE [read_bytes=589824] [seconds=2]\n", argv[0]);
    return 2;
  }
  try {
    const uint64_t asked = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 589824;
    const uint64_t read_bytes = flashmoe::round_up(asked == 0 ? 1 : asked, flashmoe::kBlock);
    flashmoe::run(argv[1], read_bytes, argc > 3 ? std::strtod(argv[3], nullptr) : 2.0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
