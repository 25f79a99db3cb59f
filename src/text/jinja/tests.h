// `value is test(arguments)`.
#pragma once

#include "text/jinja/runtime.h"

namespace flashmoe::jinja {

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, Runtime& runtime);

}  // namespace flashmoe::jinja
