// Writes a routing trace, block by block.
#pragma once

#include <string>

#include "experts/routing_trace.h"

namespace flashmoe {

// The file is whole once finish() has returned; before that it has no end mark, and its last steps may be missing: what
// less than a second before the last step was written. It takes at most `limit_bytes`: steps that come later are left
// out, and the end says so.
class TraceWriter {
 public:
  // Throws Error{io} when the file cannot be made, Error{usage} when the limit leaves no room for a token.
  TraceWriter(const std::string& path, const TraceHeader& header, uint64_t limit_bytes);
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  // Throws Error{io} when the file cannot be written. Allocates only until the largest step was seen.
  void write(const TraceStep& step);
  // Takes `end` without the counts of steps and rows, which are known here, and returns it with them.
  TraceEnd finish(TraceEnd end);
  const std::string& path() const { return path_; }

 private:
  void flush();

  std::string path_;
  TraceHeader header_;
  uint64_t limit_bytes_;
  int descriptor_ = -1;
  std::string block_, waiting_;  // the step that is being encoded; blocks on their way to the file
  uint64_t bytes_ = 0;           // of the file, what waits included
  uint64_t last_start_ns_ = 0;
  uint64_t flushed_ns_ = 0;  // when
  TraceEnd counts_;
};

}  // namespace flashmoe
