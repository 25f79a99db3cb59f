#include <cstdio>

#include "flashmoe/version.h"

int main() {
  std::printf("flashmoe %s\n", flashmoe::kVersion);
  return 0;
}
