// What Gated DeltaNet layers remember of one sequence: a fixed size, whatever the length.
#pragma once

#include <cstdint>

#include "memory/buffer.h"
#include "model/config.h"

namespace flashmoe {

class DeltaState {
 public:
  DeltaState(const ModelConfig& config, Budget& budget);
  static uint64_t bytes(const ModelConfig& config);

  // S [n_value_heads, d_key, d_value] of a layer; `slot` counts delta-net layers.
  float* state(int slot) const { return buffer_.as<float>() + slot * layer_floats_; }
  // The last three inputs of the convolution [3, conv_channels], oldest first.
  float* history(int slot) const { return state(slot) + state_floats_; }
  // Where in a copy of span() at `to` lies what `in_layer` points to.
  float* same_place(const float* in_layer, std::byte* to) const {
    return reinterpret_cast<float*>(to) + (in_layer - buffer_.as<float>());
  }
  std::span<std::byte> span() const { return buffer_.span(); }

 private:
  int64_t state_floats_;
  int64_t layer_floats_;
  Buffer buffer_;
};

}  // namespace flashmoe
