// Throwing flashmoe::Error with a formatted message.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "flashmoe/error.h"

namespace flashmoe {

template <typename... Args>
[[noreturn]] void fail(Fault fault, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fault, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace flashmoe
