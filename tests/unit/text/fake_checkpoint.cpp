#include "fake_checkpoint.h"

#include "text/unicode.h"

namespace flashmoe {

nlohmann::json byte_tokenizer() {
  auto tokenizer = nlohmann::json::parse(R"({
    "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "model": {"type": "BPE", "vocab": {}, "merges": []}})");
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string character;
    append_utf8(character, kByteCharacters[byte]);
    tokenizer["model"]["vocab"][character] = byte;
  }
  return tokenizer;
}

}  // namespace flashmoe
