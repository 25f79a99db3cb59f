// How much a JSON text holds, told before it is read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace flashmoe {

inline constexpr size_t kMostJsonLevels = 100;  // whoever writes JSON out again recurses
// Of one object: each name is looked for among those before it. 524,288 values in such objects take a request 3 s.
inline constexpr size_t kMostJsonNames = 4096;

struct JsonExtent {
  size_t n_values = 0;    // what becomes a node of memory: values and names
  size_t n_levels = 0;    // of lists and objects
  size_t most_names = 0;  // of one object; those below kMostJsonLevels are not seen

  // Which of the limits above it is beyond, to go on behind the name of what was to be read.
  std::optional<std::string> excess() const;
};

// Exact for valid JSON; for other text a count without meaning, never an error.
JsonExtent json_extent(std::string_view json);

}  // namespace flashmoe
