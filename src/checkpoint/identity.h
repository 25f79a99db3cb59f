// Which model it is, by what its files hold.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "io/file.h"

namespace flashmoe {

// The same for the same files; another one after a file was exchanged or changed, even for one of the same size. Reads
// at most some megabytes: sizes, times of change, and samples of each file. Throws Error{io}.
std::string identity_of(std::span<const std::shared_ptr<File>> files);

}  // namespace flashmoe
