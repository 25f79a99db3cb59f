// What a trace is of, for people.
#pragma once

#include <string>

#include "flashmoe/trace.h"

namespace flashmoe {

// Model, tokens, cache and speed of the recorded run, some lines.
std::string trace_summary_text(const TraceSummary& summary);

}  // namespace flashmoe
