// Importance files (docs/formats.md): which input columns of a model's matrices matter, as flashmoe calibrate measured.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/extent.h"
#include "io/file.h"

namespace flashmoe {

class Importance {
 public:
  // Reads the header; an empty path: nothing is known. Throws Error: io, input (not an importance file).
  explicit Importance(const std::string& path);

  bool known() const { return file_ != nullptr; }
  // Where the numbers [cols] of a matrix lie; no bytes where the file has none. Throws Error{input} when it has others
  // than this matrix needs: it is of another model.
  Extent of_tensor(const std::string& name, int64_t cols) const;
  // `role`: gate, up or down. Experts must be there.
  Extent of_expert(int layer, std::string_view role, int expert, int64_t n_experts, int64_t cols) const;
  // Throws Error{input} where a number is negative or not finite. Any thread.
  void read(const Extent& extent, std::span<float> out) const;

  nlohmann::ordered_json identity() const;  // null where nothing is known

 private:
  struct Entry {
    std::vector<int64_t> shape;
    uint64_t offset = 0;
  };
  [[noreturn]] void another_model(const std::string& name, std::span<const int64_t> wanted) const;
  const Entry* find(const std::string& name, std::span<const int64_t> shape) const;

  std::shared_ptr<File> file_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace flashmoe
