// JSON as Python's json.dumps writes it, and JSON values as template values.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "text/jinja/value.h"

namespace flashmoe::jinja {

struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// Throws for what JSON has no form for (undefined, functions, generators, ...).
std::string write_json(const Value& value, const JsonStyle& style, Budget& budget);

// Objects keep their order. Integers above 2^63 - 1 become reals.
Value from_json(const nlohmann::ordered_json& json);

}  // namespace flashmoe::jinja
