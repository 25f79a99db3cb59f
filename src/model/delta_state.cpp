#include "model/delta_state.h"

namespace flashmoe {
namespace {

int64_t state_floats(const DeltaNetConfig& c) { return c.n_value_heads * c.d_key * c.d_value; }
int64_t layer_floats(const DeltaNetConfig& c) { return state_floats(c) + (kConvWidth - 1) * c.conv_channels(); }

}  // namespace

uint64_t DeltaState::bytes(const ModelConfig& config) {
  return static_cast<uint64_t>(config.n_delta_layers() * layer_floats(config.delta_net)) * sizeof(float);
}

DeltaState::DeltaState(const ModelConfig& config, Budget& budget)
    : state_floats_(state_floats(config.delta_net)),
      layer_floats_(layer_floats(config.delta_net)),
      buffer_(budget, Allotted::delta_state, bytes(config)) {}

}  // namespace flashmoe
