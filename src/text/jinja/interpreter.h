// Runs a parsed template.
#pragma once

#include <string>

#include "text/jinja/ast.h"

namespace flashmoe::jinja {

struct Limits {
  uint64_t steps = 20'000'000;
  uint64_t bytes = uint64_t{512} << 20;  // of every string and list made, the output included
};

// `context`: a mapping of the names the template sees. Throws Error{input} with the line and the reason.
std::string render(const Block& block, const Value& context, const Limits& limits = {});

}  // namespace flashmoe::jinja
