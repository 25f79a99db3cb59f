// A second copy of a checkpoint's files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/file.h"

namespace flashmoe {

struct Mirror {
  std::vector<std::shared_ptr<File>> files;
  std::string remark;  // what could not be compared, and why; empty: nothing
};

// Where the copy of `file` is looked for.
std::string path_of_copy(const File& file, const std::string& folder);

// The files of the same names in `folder`, in the same order. They must be copies: sizes, first bytes and samples all
// over are compared, but for places that cannot be read in one of the two. Throws Error{io, input} that names `folder`
// and the file.
Mirror open_mirror(const std::vector<std::shared_ptr<File>>& files, const std::string& folder);

}  // namespace flashmoe
