// Small files that a program keeps for itself, and that anything may have happened to.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace flashmoe {

// The whole content; nothing where there is no regular file, it is larger than `most_bytes`, or it cannot be read.
// Never waits, whatever lies there.
std::optional<std::string> read_small_file(const std::string& path, size_t most_bytes);

// Beside its place first, then moved there: readers see the old content or the new one. Makes the folder. False where
// that fails; nothing is left behind then.
bool write_small_file(const std::string& path, const std::string& content) noexcept;

}  // namespace flashmoe
