// Token texts -> ids while a tokenizer is loaded: three look-ups for each of a quarter of a million merges.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace flashmoe {

class TokenIds {
 public:
  // For at most `n` texts.
  explicit TokenIds(size_t n);

  // The id that the text has already, or nothing and it has `id` now. The text is borrowed.
  std::optional<int32_t> add(std::string_view text, int32_t id);
  std::optional<int32_t> find(std::string_view text) const;

 private:
  // Eight bytes, so that a probe seldom leaves the cache; the text is compared only when the hash fits.
  struct Slot {
    uint32_t hash;
    int32_t entry;  // -1: free
  };
  struct Entry {
    std::string_view text;
    int32_t id;
  };
  size_t slot_of(std::string_view text, uint32_t hash) const;

  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
  std::vector<Entry> entries_;
};

}  // namespace flashmoe
