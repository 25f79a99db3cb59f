#include "layer_list.h"

#include <charconv>
#include <optional>

namespace flashmoe {
namespace {

constexpr int kMostLayers = 4096;

std::optional<int> layer_number(std::string_view text) {
  int layer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && layer >= 0 && layer < kMostLayers ? std::optional(layer) : std::nullopt;
}

}  // namespace

std::string take_layers(std::string_view text, std::vector<int>& layers) {
  const size_t dash = text.find('-');
  const auto first = layer_number(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : layer_number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return "layers such as 3 or 0-7 are expected";
  for (int layer = *first; layer <= *last; ++layer) layers.push_back(layer);
  return "";
}

}  // namespace flashmoe
