#include <array>

#include "pack/recipe.h"

namespace flashmoe {

// Measured on the built-in model (docs/experiments/0008-what-formats-cost.md).
std::span<const NamedRecipe> named_recipes() {
  static constexpr std::array kRecipes = {
      NamedRecipe{"4bit", R"({"experts": "q4_k", "trunk": "q6_k", "embedding": "q8_0"})"},
      NamedRecipe{"3bit", R"({"experts": "q3_k", "trunk": "q5_k", "embedding": "q8_0"})"},
      NamedRecipe{"2bit", R"({"experts": "q2_k", "trunk": "iq4_xs", "embedding": "q8_0"})"},
  };
  return kRecipes;
}

}  // namespace flashmoe
