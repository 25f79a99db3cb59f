// Keys and values of one sequence's attention layers, in tiles (kernels/kv_tile.h). Address space is reserved for the
// whole context; memory is taken from the budget as the sequence grows.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "memory/buffer.h"
#include "model/config.h"

namespace flashmoe {

// Nothing, or why this model's heads cannot be kept in the format.
const char* kv_format_refusal(const ModelConfig& config, KvFormat format);

class KvCache {
 public:
  KvCache(const ModelConfig& config, KvFormat format, int64_t context_tokens, Budget& budget);

  // Of a long sequence; a short one takes whole tiles.
  static uint64_t bytes_per_token(const ModelConfig& config, KvFormat format);
  // Of Allotted::kv_cache when `n_tokens` are held, growth steps included.
  static uint64_t bytes(const ModelConfig& config, KvFormat format, int64_t n_tokens);

  // Makes room for positions [0, n_tokens). Throws Error{memory_floor} when the allotment is used up.
  void reserve_positions(int64_t n_tokens);
  // key, value [n_kv_heads, d_head] of a position there is room for; `slot` counts attention layers.
  void put(const KernelTable& kernels, int slot, int64_t position, const float* key, const float* value);

  KvFormat format() const { return format_; }
  // [n_tiles, n_kv_heads] tiles; strides are in bytes, from tile to tile of one head.
  int64_t key_stride() const { return n_heads_ * key_tile_bytes(format_, d_head_); }
  int64_t value_stride() const { return n_heads_ * value_tile_bytes(format_, d_head_); }
  std::byte* keys(int slot) const { return layers_[static_cast<size_t>(slot)].keys.data(); }
  std::byte* values(int slot) const { return layers_[static_cast<size_t>(slot)].values.data(); }
  // The tiles of a head from the one that holds `position` on.
  std::byte* keys_at(int slot, int64_t position, int64_t head) const {
    return keys(slot) + position / kKvTile * key_stride() + head * key_tile_bytes(format_, d_head_);
  }
  std::byte* values_at(int slot, int64_t position, int64_t head) const {
    return values(slot) + position / kKvTile * value_stride() + head * value_tile_bytes(format_, d_head_);
  }
  int n_slots() const { return static_cast<int>(layers_.size()); }
  // Bytes of a layer's keys, values that hold positions [0, n_tokens).
  uint64_t key_bytes(int64_t n_tokens) const;
  uint64_t value_bytes(int64_t n_tokens) const;

 private:
  struct Layer {
    Buffer keys, values;
  };
  KvFormat format_;
  int64_t n_heads_, d_head_;
  std::vector<Layer> layers_;
};

}  // namespace flashmoe
