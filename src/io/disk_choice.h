// How to read a drive: by which engine, how deep, in which parts, past the page cache or through it. Decided by a
// short trial of real transfers, and remembered per drive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/read_queue.h"

namespace flashmoe {

enum class ReadEngine { uring, pread };

struct DiskChoice {
  ReadEngine engine = ReadEngine::uring;
  int depth = 32;
  bool direct = true;
  uint64_t chunk_bytes = 0;  // longer reads are cut into about equal parts; 0: never
  double gb_per_s = 0;       // of random reads in that way; 0: not measured
  bool settled = false;      // everything could be tried, and in time: worth remembering
};

struct DiskQuestion {
  const File* file = nullptr;             // to read from: the model's own
  std::vector<uint64_t> read_bytes = {};  // the reads of one expert
  // What may be chosen: at least one of each pair.
  bool may_uring = true, may_pread = true;
  bool may_direct = true, may_buffered = true;
};

inline constexpr uint64_t kTrialMemoryBytes = 40ULL << 20;  // enough for every depth at usual sizes of reads
inline constexpr double kTrialSeconds = 0.6;

// A way that was tried.
struct ReadWay {
  ReadEngine engine = ReadEngine::uring;
  int depth = 1;
  double gb_per_s = 0;
};
// The best for the cores as well: threads that read take them from what computes, so they must be clearly faster than
// io_uring. Of one engine's ways, which are listed by depth, the shallowest that is nearly as fast as the best; with
// io_uring from there on the first, or else the last that is not clearly slower, whose reads of `read_bytes` keep the
// drive busy until who computes looks after it again. `ways` must not be empty.
const ReadWay& preferred_way(std::span<const ReadWay> ways, double read_bytes);

// What is taken where nothing can be measured: the first of the engines and ways that are allowed.
DiskChoice untried_choice(const DiskQuestion& question);

// Random reads of those sizes into `memory` (block-aligned) for about kTrialSeconds. Buffered reads are measured only
// at places that are not in the page cache. Nothing measurable (a file of a few reads, all of it in the page cache)
// gives untried_choice.
DiskChoice try_disk(const DiskQuestion& question, std::span<std::byte> memory);

// A fresh queue of that kind. Throws Error{unsupported} where io_uring is forbidden.
std::unique_ptr<ReadQueue> make_read_queue(ReadEngine engine, int depth);

}  // namespace flashmoe
