// The machine this process runs on.
#pragma once

#include <string>

namespace flashmoe {

std::string cpu_name();  // as the kernel tells it; "unknown" where it does not

}  // namespace flashmoe
