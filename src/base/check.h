// CHECK: for our own mistakes. The world's failures are flashmoe::Error.
#pragma once

namespace flashmoe {

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace flashmoe

#define CHECK(condition) ((condition) ? static_cast<void>(0) : ::flashmoe::check_failed(#condition, __FILE__, __LINE__))
