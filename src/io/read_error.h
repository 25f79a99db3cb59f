// What to tell of a read that failed.
#pragma once

#include <string>

namespace flashmoe {

// In words, of ReadDone::error.
std::string read_error_text(int error);
// That, the tries where there were several, and what to do: for the end of a message.
std::string read_failure_text(int error, int n_tries);

}  // namespace flashmoe
