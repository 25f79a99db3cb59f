// Findings about a model's files, and copies of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "flashmoe/doctor.h"

namespace flashmoe {

// Whether reads past the page cache work.
Finding check_direct(const std::string& path);
// Adds one if there are holes in tensors.
void check_holes(const Checkpoint& checkpoint, std::vector<Finding>& findings);
// Adds one for each folder of copies that can be opened; the others are refused when they are read from.
void check_mirrors(const Checkpoint& checkpoint, const std::vector<std::string>& folders,
                   std::vector<Finding>& findings);

}  // namespace flashmoe
