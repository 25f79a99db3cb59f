#pragma once

namespace flashmoe {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace flashmoe
