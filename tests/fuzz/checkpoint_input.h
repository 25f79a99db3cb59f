// One damaged header, read the way a checkpoint is opened.
#pragma once

#include <string>
#include <utility>

#include "checkpoint/contents.h"
#include "checkpoint/gguf.h"
#include "checkpoint/lookalikes.h"
#include "checkpoint/safetensors.h"
#include "flashmoe/error.h"
#include "support/small_files.h"

namespace flashmoe {

enum class HeaderKind { gguf, safetensors, index };

// True when the bytes make a checkpoint, false when they are refused with an Error; anything else escapes.
inline bool header_opens(HeaderKind kind, std::string bytes) {
  try {
    auto file = std::make_shared<MemoryFile>(std::move(bytes));
    refuse_lookalikes(*file, read_head(*file));
    CheckpointContents contents;
    if (kind == HeaderKind::index) return !read_safetensors_index(*file).empty();
    if (kind == HeaderKind::gguf) {
      GgufHeader header = read_gguf_header(*file);
      contents.metadata = std::move(header.metadata);
      add_file(contents, file, std::move(header.tensors));
    } else {
      add_file(contents, file, read_safetensors_header(*file));
    }
    const auto model = make_checkpoint(std::move(contents));
    for (const auto& [name, tensor] : model->tensors()) {
      // Whatever is promised is there.
      CHECK(tensor.offset <= file->size() && tensor.bytes <= file->size() - tensor.offset && tensor.bytes > 0);
      CHECK(tensor.n_values() > 0 &&
            tensor.bytes == static_cast<uint64_t>(format_bytes(tensor.format, tensor.n_values())));
    }
    return true;
  } catch (const Error& error) {
    CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return false;
  }
}

}  // namespace flashmoe
