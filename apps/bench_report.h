// What a benchmark found: for people, and as JSON for programs.
#pragma once

#include <string>

#include "flashmoe/bench.h"

namespace flashmoe {

// A table of at most 80 columns.
std::string bench_text(const BenchResult& result, int n_repetitions);

// docs/how-to/bench.md lists the names.
std::string bench_json(const BenchResult& result, int n_repetitions);

}  // namespace flashmoe
