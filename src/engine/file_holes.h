// Parts of a model's files that were never written: downloads that reserve their space first leave such holes, and so
// do copies that leave zeros out. Both read as zeros.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace flashmoe {

struct FileHole {
  std::string path, tensor;
  uint64_t offset = 0, bytes = 0;  // in the file; of the tensor
};

// The first in each file that lies in a tensor, in the order of `files`: the checkpoint's, or copies of them. None
// where the file system does not tell.
std::vector<FileHole> holes_in_tensors(const Checkpoint& checkpoint, const std::vector<std::shared_ptr<File>>& files);

// One line for people of one or more, and what mends it.
std::string told(const std::vector<FileHole>& holes);
inline constexpr const char* kMendOfHoles = "compare the file's checksum with that of its source, or fetch it again";
// Adds both as one line if a file of the checkpoint has holes in tensors.
void note_holes(const Checkpoint& checkpoint, std::vector<std::string>& notes);

}  // namespace flashmoe
