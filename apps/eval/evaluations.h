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

// Chat requests, one JSON object a line, at most `limit` unless that is 0. Throws Error{input} with `name` and line.
std::vector<nlohmann::ordered_json> parse_requests(const std::string& text, const std::string& name, int64_t limit);

}  // namespace flashmoe
