#include "support/safetensors_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "support/gguf_writer.h"
#include "support/temp_dir.h"

namespace flashmoe {

void SafetensorsWriter::add_tensor(std::string_view name, std::string_view dtype, const std::vector<uint64_t>& shape,
                                   std::string_view data) {
  entries_ += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype,
                          fmt::join(shape, ","), data_.size(), data_.size() + data.size());
  data_ += data;
}

std::string SafetensorsWriter::bytes() const {
  std::string header = R"({"__metadata__":{"format":"pt"})" + entries_ + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return with_header(header, data_);
}

void SafetensorsWriter::write(const std::string& path) const { write_bytes(path, bytes()); }

std::string SafetensorsWriter::with_header(std::string_view header, std::string_view data) {
  return gguf_string(header).append(data);
}

}  // namespace flashmoe
