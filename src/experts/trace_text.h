// Lists of picks as text: one JSON object a line.
#pragma once

#include <memory>

#include "experts/trace_reader.h"
#include "io/file.h"

namespace flashmoe {

// Reads the whole file once to learn its shape. Experts are as many as the largest id says, rounded up to a multiple of
// eight. Throws Error{input} naming file and line.
std::unique_ptr<TraceReader> open_text_trace(std::shared_ptr<File> file, const OnLookedThrough& on_looked_through = {});

}  // namespace flashmoe
