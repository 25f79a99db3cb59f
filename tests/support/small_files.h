// The smallest files with everything in them that headers can have, to be read whole or damaged.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>

#include "base/check.h"
#include "io/file.h"
#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"

namespace flashmoe {

// Metadata of every type and array type; tensors "a" F32 [2, 3], "b" Q8_0 [4, 64], "c" of a type that cannot be run.
GgufWriter small_gguf();
// Tensors "a" F32 [2, 3], "b" BF16 [4], "c" F8_E4M3 [2, 2].
SafetensorsWriter small_safetensors();

// A file that is only in memory.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::string bytes) : bytes_(std::move(bytes)) {}
  const std::string& path() const override { return path_; }
  uint64_t size() const override { return bytes_.size(); }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    // Readers of headers must never ask for what is not there.
    CHECK(offset <= bytes_.size() && out.size() <= bytes_.size() - offset);
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }
  int buffered_fd() const override { return -1; }
  int direct_fd() const override { return -1; }
  void drop_page_cache(uint64_t, uint64_t) const override {}

 private:
  std::string path_ = "memory";
  std::string bytes_;
};

}  // namespace flashmoe
