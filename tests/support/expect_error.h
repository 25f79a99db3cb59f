// Expectations about flashmoe::Error.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "flashmoe/error.h"

namespace flashmoe {

// Runs `action`, which must throw an Error of this fault with a one-line message that holds every needle.
template <typename Action>
void expect_error(Action&& action, Fault fault, std::initializer_list<std::string_view> needles) {
  try {
    action();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(static_cast<int>(error.fault()), static_cast<int>(fault)) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const std::string_view needle : needles) {
      EXPECT_NE(message.find(needle), std::string::npos) << "'" << needle << "' is not in: " << message;
    }
  }
}

}  // namespace flashmoe
