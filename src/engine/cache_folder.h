// Where what is learnt of models and drives is kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flashmoe {

// $XDG_CACHE_HOME/flashmoe or ~/.cache/flashmoe; empty when neither is set.
std::string user_cache_folder();

// Where in the folder something about the model with these files is kept, without an ending. A model is known by the
// name and size of its first file and the size of all.
std::string model_record_path(const std::string& folder, const std::vector<std::string>& files, uint64_t file_bytes);

}  // namespace flashmoe
