// The functions every template can call.
#pragma once

#include <string_view>

#include "text/jinja/runtime.h"

namespace flashmoe::jinja {

// range, dict, namespace, raise_exception, strftime_now; undefined for other names.
Value global(std::string_view name);

}  // namespace flashmoe::jinja
