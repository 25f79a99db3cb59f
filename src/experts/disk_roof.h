// What the disk delivers of a model's experts at best.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "experts/source.h"
#include "io/file.h"
#include "io/read_queue.h"

namespace flashmoe {

struct DiskProbe {
  const ExpertTable& table;
  std::span<const std::shared_ptr<File>> files;
  bool direct = false;
  uint32_t alignment = 1;  // of direct reads, 1 when buffered
  double seconds = 2;      // at most
  std::function<bool()> keep_going = {};
};

// GB/s of reading whole records, picked at random, as streamed experts read them: the same transfers, as many records
// at once as a token picks of a layer. Buffered reads begin with the page cache dropped. Ends early when all experts
// were read a few times over. Throws Error{io} when a read fails, Error{interrupted}.
double measure_expert_reads(const DiskProbe& probe, ReadQueue& queue);

// [n_used + 1] seconds from asking for so many random records to having them all, the disk idle before: means over
// bursts that take `seconds` in all. Throws like measure_expert_reads.
std::vector<double> measure_bursts(const DiskProbe& probe, ReadQueue& queue);

}  // namespace flashmoe
