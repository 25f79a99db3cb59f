// Options about routing traces.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "flashmoe/engine.h"
#include "flashmoe/options.h"
#include "flashmoe/trace.h"

namespace flashmoe {

// --trace and what belongs to it, for subcommands that run a model.
void add_trace_options(CLI::App& cli, TraceOptions& trace);
// Throws Error{usage} for a --trace-... without --trace, and like check_writable where the file cannot be written or is
// one of those that are read.
void check_trace(const TraceOptions& trace, const std::vector<std::string>& read = {});

// Says so if recording ended before the run did.
void tell_trace_end(const TraceOptions& trace, const TraceSize& size);

// --unfinished, --expert-size and --compute, for subcommands that read a trace.
void add_question_options(CLI::App& cli, TraceQuestion& question);
// For each of these traces the question without what the trace tells itself: figures would contradict it. Throws
// Error{usage} where none of them needs what was added.
std::vector<TraceQuestion> questions_of(const std::vector<std::string>& traces, const TraceQuestion& question);

}  // namespace flashmoe
