// Findings that need neither an engine nor a measurement.
#pragma once

#include <optional>
#include <string>

#include "flashmoe/doctor.h"
#include "flashmoe/error.h"

namespace flashmoe {

// Those that read from the system's files, below `root` instead of "/" in tests.
Finding check_huge_pages(const std::string& root);
Finding check_swap(const std::string& root);
// Nothing where there is a /proc.
std::optional<Finding> check_proc(const std::string& root);
// Partial downloads in the folder of a model, or nothing.
std::optional<Finding> check_downloads(const std::string& model_path);
// An Error as a finding: what comes after the last "; " is the mend, else what usually mends such a fault.
Finding finding_of(const std::string& what, const Error& error);

}  // namespace flashmoe
