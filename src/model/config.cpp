#include "model/config.h"

#include <algorithm>

namespace flashmoe {

int ModelConfig::n_attention_layers() const {
  return static_cast<int>(std::count(layer_is_attention.begin(), layer_is_attention.end(), true));
}

}  // namespace flashmoe
