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
}  // namespace flashmoe
