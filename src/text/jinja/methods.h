// Methods and attributes of values.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/runtime.h"

namespace flashmoe::jinja {

// `object.name` where Python's type has it: a method, an attribute of a namespace or of `loop`.
std::optional<Value> find_method(const Value& object, std::string_view name);

}  // namespace flashmoe::jinja
