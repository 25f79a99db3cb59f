// Options about routing traces.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <string_view>

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

// An option that takes values separated by commas and hands them to `take` one by one, which complains by returning
// what is expected.
CLI::Option* add_list(CLI::App& cli, const std::string& name, const std::string& text,
                      const std::function<std::string(std::string_view)>& take, const std::string& description);

// "7", "3.5", "1e3": positive. False for anything else.
bool read_positive(std::string_view text, double& value);

// A time or speed as some machine may have it, from 1e-6 to 1e9: beyond, what is computed from it is no number. What is
// expected, with `what` before it, or nothing where the text is that.
std::string take_quantity(std::string_view text, std::string_view what, double& value);

}  // namespace flashmoe
