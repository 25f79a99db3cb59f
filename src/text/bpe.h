// Byte-pair encoding: pieces of text -> token ids by the learnt order of merges.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace flashmoe {

// Tokens `left` and `right`, side by side, become `result`. Earlier merges in the list come first.
struct MergeRule {
  int32_t left, right, result;
};

class Bpe {
 public:
  // Working memory of encode, kept between calls by the caller.
  class Scratch {
   public:
    Scratch() = default;

   private:
    friend class Bpe;
    struct Symbol {
      int32_t id;  // -1: merged into the symbol before it
      int32_t previous, next;
    };
    struct Candidate {
      uint32_t rank;
      int32_t at;  // index of the left symbol
      int32_t result;
    };
    static bool comes_later(const Candidate& a, const Candidate& b);
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // byte_ids [256]: the token of each single byte. Of two rules for one pair the later counts, as in the reference.
  Bpe(const std::array<int32_t, 256>& byte_ids, std::span<const MergeRule> rules);

  // Appends the ids of one piece. Takes O(n log n) for n bytes.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

 private:
  struct Entry {
    uint64_t pair;
    uint32_t rank;
    int32_t result;
  };
  const Entry* find(int32_t left, int32_t right) const;
  void offer(Scratch& scratch, int32_t left_index) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Entry> entries_;  // open addressing; a power of two, at most half full
  uint64_t mask_ = 0;
};

}  // namespace flashmoe
