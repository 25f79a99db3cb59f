// Reads routing traces step by step: those this program writes, and lists of picks as text.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "experts/routing_trace.h"
#include "io/file.h"

namespace flashmoe {

class TraceReader {
 public:
  virtual ~TraceReader() = default;
  const TraceHeader& header() const { return header_; }
  const TraceEnd& end() const { return end_; }
  // False after the last step. Throws Error{input} naming the file for a damaged step, Error{io}.
  virtual bool next(TraceStep& step) = 0;
  // The next step is the first again.
  virtual void rewind() = 0;

 protected:
  TraceHeader header_;
  TraceEnd end_;
};

// Told now and then how many bytes of a file were looked through that has to be before it can be read; may throw to end
// it.
using OnLookedThrough = std::function<void(uint64_t bytes)>;

// A trace, or one JSON object a line, {"layers": [[expert ids of layer 0], ...]}, a line for each token in the order of
// decoding. `unfinished`: one that is still being written, or whose run was killed, is read as far as its steps are
// whole. Throws Error{io}; Error{input} for a file that is neither, is cut short (unless unfinished), or has no step.
std::unique_ptr<TraceReader> open_trace(const std::string& path, bool unfinished = false);
std::unique_ptr<TraceReader> open_trace(std::shared_ptr<File> file, bool unfinished = false,
                                        const OnLookedThrough& on_looked_through = {});

}  // namespace flashmoe
