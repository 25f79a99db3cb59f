// What to tell of a read that failed.
#pragma once

#include <string>

namespace flashmoe {

// In words, of ReadDone::error.
std::string read_error_text(int error);

}  // namespace flashmoe
