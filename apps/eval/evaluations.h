// The three evaluations. Each returns what it found, to be printed as it is.
#pragma once

#include <nlohmann/json.hpp>

#include "eval/eval_options.h"

namespace flashmoe {

// Of a text, and of the assistant's own turns of conversations: whichever files were given.
nlohmann::ordered_json evaluate_perplexity(const EvalOptions& options);
// Between the reference and the model, over a text.
nlohmann::ordered_json evaluate_divergence(const EvalOptions& options);
// Tool calls and JSON answers, greedy.
nlohmann::ordered_json evaluate_tools(const EvalOptions& options);

// Lines of a file of JSON objects, at most `limit` unless that is 0. Throws Error{input} with file and line.
std::vector<nlohmann::ordered_json> read_json_lines(const std::string& path, int64_t limit);

}  // namespace flashmoe
