// The options that choose how to answer: shared by every subcommand that generates text for people.
#pragma once

#include <CLI/CLI.hpp>

#include "flashmoe/options.h"

namespace flashmoe {

// -n, sampling, stop texts.
void add_answer_options(CLI::App& cli, GenerateOptions& generate);

// What only shows once all options are read. Throws Error{usage}.
void check_answer_options(const GenerateOptions& generate);

}  // namespace flashmoe
