// One read queue over the files of a checkpoint: cuts reads into parts, spreads them over drives that hold the same
// files, and watches that no file changes. Callers name a file by the first drive's descriptor and see no drives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/read_queue.h"

namespace flashmoe {

struct Drive {
  std::string name;                          // for messages: its folder
  std::vector<std::shared_ptr<File>> files;  // [n_files], on every drive the same, in the same order
  int depth = 1;                             // most parts in flight
  double gb_per_s = 1;                       // a first estimate; from then on what its completions say
};

struct SpreadOptions {
  uint64_t chunk_bytes = 0;           // longer reads are cut into about equal parts; 0: never
  uint64_t watch_ns = 1'000'000'000;  // how often all files are looked at for changes; the one that was read, always
  std::string remark = {};            // ends name(): why this queue and no better one
};

// `inner` does the transfers; its depth should be the sum of the drives'. A part goes to the drive that is likely to
// finish it first; a drive that turns far slower than it was rests until a probe beside the reads finds it as before.
// A part that fails is read from the next drive, and a drive whose reads fail again and again, or one of whose files
// changed, is used no more: name() tells. Only when no drive is left is there an error.
std::unique_ptr<ReadQueue> make_spread_queue(std::unique_ptr<ReadQueue> inner, std::vector<Drive> drives,
                                             const SpreadOptions& options);

}  // namespace flashmoe
