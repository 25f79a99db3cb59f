#include "support/gguf_writer.h"

#include "base/bytes.h"
#include "support/temp_dir.h"

namespace flashmoe {

std::string gguf_string(std::string_view text) { return gguf_number<uint64_t>(text.size()).append(text); }

void GgufWriter::add_raw(std::string_view key, GgufKind kind, std::string_view value) {
  entries_ += gguf_string(key) + gguf_number(static_cast<uint32_t>(kind));
  entries_ += value;
  ++n_entries_;
}

void GgufWriter::add_array(std::string_view key, GgufKind kind, uint64_t n, std::string_view elements) {
  add_raw(key, GgufKind::array, (gguf_number(static_cast<uint32_t>(kind)) + gguf_number(n)).append(elements));
}

void GgufWriter::add_i32s(std::string_view key, const std::vector<int32_t>& values) {
  std::string elements;
  for (const int32_t value : values) elements += gguf_number(value);
  add_array(key, GgufKind::i32, values.size(), elements);
}

void GgufWriter::add_strings(std::string_view key, const std::vector<std::string>& values) {
  std::string elements;
  for (const std::string& value : values) elements += gguf_string(value);
  add_array(key, GgufKind::string, values.size(), elements);
}

void GgufWriter::add_tensor(std::string_view name, const std::vector<uint64_t>& shape, uint32_t gguf_type,
                            std::string_view data, std::optional<uint64_t> offset) {
  tensors_ += gguf_string(name) + gguf_number(static_cast<uint32_t>(shape.size()));
  for (size_t i = shape.size(); i > 0; --i) tensors_ += gguf_number(shape[i - 1]);
  data_.resize(round_up(data_.size(), alignment));
  tensors_ += gguf_number(gguf_type) + gguf_number(offset.value_or(data_.size()));
  data_ += data;
  ++n_tensors_;
}

std::string GgufWriter::bytes() const {
  std::string file = "GGUF" + gguf_number(version) + gguf_number(claimed_tensors.value_or(n_tensors_)) +
                     gguf_number(claimed_entries.value_or(n_entries_)) + entries_ + tensors_;
  file.resize(round_up(file.size(), alignment));
  return file + data_;
}

void GgufWriter::write(const std::string& path) const { write_bytes(path, bytes()); }

}  // namespace flashmoe
