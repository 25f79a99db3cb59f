// Files of tests/data.
#pragma once

#include <string>

namespace flashmoe {

// The whole of tests/data/NAME. Throws std::runtime_error where it is not there.
std::string read_test_data(const std::string& name);

}  // namespace flashmoe
