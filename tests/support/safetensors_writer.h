// Writes safetensors files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

class SafetensorsWriter {
 public:
  void add_tensor(std::string_view name, std::string_view dtype, const std::vector<uint64_t>& shape,
                  std::string_view data);

  uint64_t data_bytes() const { return data_.size(); }
  std::string bytes() const;
  void write(const std::string& path) const;

  // A file with any text as its header.
  static std::string with_header(std::string_view header, std::string_view data);

 private:
  std::string entries_, data_;
};

}  // namespace flashmoe
