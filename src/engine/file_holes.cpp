#include "engine/file_holes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "checkpoint/shown_name.h"
#include "flashmoe/wording.h"

namespace flashmoe {
namespace {

constexpr int kMostHoles = 10'000;  // looked at in a file, each a call of the system

struct Stretch {
  uint64_t begin = 0, end = 0;
  const TensorInfo* tensor = nullptr;
};

// Of one file, in the order of their places.
std::vector<Stretch> stretches_of(const Checkpoint& checkpoint, uint32_t file) {
  std::vector<Stretch> found;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto add = [&](uint32_t in, uint64_t offset, uint64_t bytes) {
      if (in == file && bytes > 0) found.push_back({offset, offset + bytes, &tensor});
    };
    add(tensor.file, tensor.offset, tensor.bytes);
    add(tensor.scales.file, tensor.scales.offset, tensor.scales.bytes);
    add(tensor.biases.file, tensor.biases.offset, tensor.biases.bytes);
  }
  std::ranges::sort(found, {}, &Stretch::begin);
  return found;
}

struct Range {
  uint64_t begin = 0, end = 0;
};

// The first hole of a file from `at` on. Nothing at its end, where every file has one.
std::optional<Range> hole_from(const File& file, uint64_t at) {
  const off_t begin = ::lseek(file.buffered_fd(), static_cast<off_t>(at), SEEK_HOLE);
  if (begin < 0 || static_cast<uint64_t>(begin) >= file.size()) return std::nullopt;
  const off_t end = ::lseek(file.buffered_fd(), begin, SEEK_DATA);
  return Range{static_cast<uint64_t>(begin), end < 0 ? file.size() : static_cast<uint64_t>(end)};
}

std::optional<FileHole> first_hole(const Checkpoint& checkpoint, uint32_t index, const File& file) {
  auto hole = hole_from(file, 0);
  if (!hole) return std::nullopt;
  const std::vector<Stretch> stretches = stretches_of(checkpoint, index);
  auto stretch = stretches.begin();
  for (int n = 0; hole && n < kMostHoles; ++n) {
    stretch = std::find_if(stretch, stretches.end(), [&](const Stretch& s) { return s.end > hole->begin; });
    if (stretch == stretches.end()) return std::nullopt;
    if (stretch->begin < hole->end) {
      const uint64_t at = std::max(hole->begin, stretch->begin);
      return FileHole{file.path(), stretch->tensor->name, at, std::min(hole->end, stretch->end) - at};
    }
    hole = hole_from(file, hole->end);
  }
  return std::nullopt;
}

}  // namespace

std::vector<FileHole> holes_in_tensors(const Checkpoint& checkpoint, const std::vector<std::shared_ptr<File>>& files) {
  std::vector<FileHole> holes;
  for (uint32_t i = 0; i < files.size(); ++i) {
    if (auto hole = first_hole(checkpoint, i, *files[i])) holes.push_back(std::move(*hole));
  }
  return holes;
}

std::string told(const std::vector<FileHole>& holes) {
  const FileHole& first = holes.front();
  const std::string more = holes.size() > 1 ? fmt::format(" and {} more files", holes.size() - 1) : "";
  return fmt::format(
      "{}{}: holes that read as zeros, the first of {} at offset {}, in {}: a download that did not end, "
      "or a copy that left zeros out",
      first.path, more, human_bytes(first.bytes), first.offset, printable(first.tensor));
}

void note_holes(const Checkpoint& checkpoint, std::vector<std::string>& notes) {
  const auto holes = holes_in_tensors(checkpoint, checkpoint.files());
  if (!holes.empty()) notes.push_back(told(holes) + "; " + kMendOfHoles);
}

}  // namespace flashmoe
