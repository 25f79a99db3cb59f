// Names of tensors as GGUF files have them, and what part of a model they are.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace flashmoe {

// The GGUF name of a tensor of a Hugging Face or MLX folder; nothing when there is none. `experts_norm`: what GGUF
// calls the norm before the experts.
std::optional<std::string> gguf_name_of(std::string_view name, std::string_view experts_norm);

// A tensor of the trunk by its GGUF name.
struct TrunkPart {
  std::string_view role;  // see Recipe::format
  int layer = -1;
};
TrunkPart trunk_part(std::string_view gguf_name, int n_layers);

// Whether the name is that of stacked routed experts of a layer that is computed.
bool is_routed_experts(std::string_view gguf_name, int n_layers);

}  // namespace flashmoe
