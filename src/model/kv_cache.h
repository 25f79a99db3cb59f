// Keys and values of one sequence's attention layers. Address space is reserved for the whole context; memory is taken
// from the budget as the sequence grows.
#pragma once

#include <cstdint>
#include <vector>

#include "memory/buffer.h"
#include "model/config.h"

namespace flashmoe {

enum class KvFormat { f16, f32 };

class KvCache {
 public:
  KvCache(const ModelConfig& config, KvFormat format, int64_t context_tokens, Budget& budget);

  static uint64_t bytes_per_token(const ModelConfig& config, KvFormat format);
  // Of Allotted::kv_cache when `n_tokens` are held, growth steps included.
  static uint64_t bytes(const ModelConfig& config, KvFormat format, int64_t n_tokens);

  // Makes room for positions [0, n_tokens). Throws Error{memory_floor} when the allotment is used up.
  void reserve_positions(int64_t n_tokens);

  KvFormat format() const { return format_; }
  int64_t width() const { return width_; }  // values per position: n_kv_heads * d_head
  int64_t value_bytes() const { return format_ == KvFormat::f16 ? 2 : 4; }
  // [context_tokens, n_kv_heads, d_head]; `slot` counts attention layers.
  std::byte* keys(int slot) const { return layers_[static_cast<size_t>(slot)].keys.data(); }
  std::byte* values(int slot) const { return layers_[static_cast<size_t>(slot)].values.data(); }
  int n_slots() const { return static_cast<int>(layers_.size()); }
  uint64_t bytes_of(int64_t n_tokens) const { return static_cast<uint64_t>(n_tokens * width_ * value_bytes()); }

 private:
  struct Layer {
    Buffer keys, values;
  };
  KvFormat format_;
  int64_t width_;
  std::vector<Layer> layers_;
};

}  // namespace flashmoe
