#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace flashmoe {

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "flashmoe: internal error: CHECK(%s) at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace flashmoe
