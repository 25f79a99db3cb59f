// What a benchmark of the experts alone found: for people, and as JSON for programs.
#pragma once

#include <string>

#include "flashmoe/moe_bench.h"

namespace flashmoe {

// A table of at most 80 columns.
std::string moe_bench_text(const MoeBenchResult& result, int n_repetitions);

// docs/how-to/moe-bench.md lists the names.
std::string moe_bench_json(const MoeBenchResult& result, int n_repetitions);

}  // namespace flashmoe
