// libFuzzer entry: the first byte chooses the kind of header, the rest is the file.
#include <cstddef>
#include <cstdint>
#include <string>

#include "checkpoint_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  flashmoe::header_opens(static_cast<flashmoe::HeaderKind>(data[0] % 3),
                         std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
