// What lies in a folder.
#pragma once

#include <string>
#include <vector>

namespace flashmoe {

// Sorted names in a folder; throws Error{io} when it cannot be listed.
std::vector<std::string> list_folder(const std::string& folder);

}  // namespace flashmoe
