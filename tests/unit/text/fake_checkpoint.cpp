#include "fake_checkpoint.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "text/unicode.h"

namespace flashmoe {

std::string read_test_file(const std::string& name) {
  const std::string path = std::string(FLASHMOE_TEST_DATA) + "/text/" + name;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

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
