// tokenizer.json, read in one pass: its two long lists as plain vectors, the rest as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// A tree of a quarter of a million vocabulary entries and as many merges would take most of the time of loading.
struct TokenizerDocument {
  struct Entry {
    std::string token;
    int64_t id;
  };
  bool has_vocab = false, has_merges = false;
  std::vector<Entry> vocab;
  std::vector<std::string> merges;  // alternately the left and the right token
  nlohmann::json rest;              // without model.vocab and model.merges

  // Merges may be written "a b" or ["a", "b"]. Throws Error{input}, with `source` in the message.
  static TokenizerDocument parse(std::string_view text, const std::string& source);
};

}  // namespace flashmoe
