// `value | filter(arguments)`.
#pragma once

#include <map>

#include "text/jinja/runtime.h"

namespace flashmoe::jinja {

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, Runtime& runtime);
bool is_filter(std::string_view name);

using FilterTable = std::map<std::string_view, Value (*)(Runtime&, const Value&, const Arguments&)>;
const FilterTable& text_filters();
const FilterTable& number_filters();
const FilterTable& sequence_filters();

}  // namespace flashmoe::jinja
