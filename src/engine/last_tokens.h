// What the last token of each sequence in a trace picked.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "experts/routing_trace.h"

namespace flashmoe {

class LastTokens {
 public:
  explicit LastTokens(const TraceHeader& header)
      : n_layers_(static_cast<size_t>(header.n_layers)), n_used_(static_cast<size_t>(header.n_used)) {}

  // The layer's picks [n_used] of the sequence's last token; empty when nothing is known of it. Valid until passed().
  std::span<const int32_t> picks(uint64_t sequence, size_t layer) const;
  void passed(const TraceStep& step);

 private:
  static constexpr size_t kMost = 512;  // sequences remembered: more than are ever answered side by side

  struct Token {
    std::vector<int32_t> picks;  // [n_layers, n_used]
    uint64_t step = 0;           // when it passed
  };
  Token& token_of(uint64_t sequence);

  size_t n_layers_, n_used_;
  uint64_t n_steps_ = 0;
  std::unordered_map<uint64_t, Token> tokens_;
};

}  // namespace flashmoe
