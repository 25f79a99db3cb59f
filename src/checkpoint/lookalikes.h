// Files that people often have in place of weights.
#pragma once

#include <string>
#include <string_view>

#include "io/file.h"

namespace flashmoe {

// Throws Error when the file is a lookalike: a git-lfs pointer, a web page,
// an empty file, a zip archive. `head`: its first bytes.
void refuse_lookalikes(const File& file, std::string_view head);
// The first bytes of a file, at most 64.
std::string read_head(const File& file);

}  // namespace flashmoe
