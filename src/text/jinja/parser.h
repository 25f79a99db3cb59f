// Tokens -> syntax tree.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace flashmoe::jinja {

// Throws Error{input} with the line and the reason.
Block parse(std::string_view source);

}  // namespace flashmoe::jinja
