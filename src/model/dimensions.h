// How large a dimension may be before the file is damaged or hostile, not large.
#pragma once

#include <cstdint>

namespace flashmoe {

inline constexpr int64_t kMaxDim = 1 << 20;
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxExperts = 65536;
inline constexpr int64_t kMaxVocab = 1 << 24;
inline constexpr int64_t kMaxContext = 1 << 30;

}  // namespace flashmoe
