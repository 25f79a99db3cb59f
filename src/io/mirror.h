// A second copy of a checkpoint's files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/file.h"

namespace flashmoe {

// The files of the same names in `folder`, in the same order. They must be copies: sizes, first bytes and samples all
// over are compared. Throws Error{io, input} that names `folder` and the file.
std::vector<std::shared_ptr<File>> open_mirror(const std::vector<std::shared_ptr<File>>& files,
                                               const std::string& folder);

}  // namespace flashmoe
