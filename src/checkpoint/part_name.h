// Names of the files that a model is split into.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flashmoe {

// "model-00002-of-00007.gguf" taken apart.
struct PartName {
  std::string prefix;     // "model"
  uint64_t number = 0;    // 2
  uint64_t count = 0;     // 7
  std::string extension;  // ".gguf"

  std::string name_of(uint64_t part_number) const;
};
std::optional<PartName> parse_part_name(std::string_view file_name);

}  // namespace flashmoe
