// How deep an expression's tree is: bounds the stack that walking and freeing it takes.
#pragma once

#include "text/jinja/ast.h"

namespace flashmoe::jinja {

int depth_below(const Expr::Node& node);

}  // namespace flashmoe::jinja
