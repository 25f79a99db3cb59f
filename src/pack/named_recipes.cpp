#include <array>

#include "pack/recipe.h"

namespace flashmoe {

// Measured on the built-in model (docs/benchmarks.md).
std::span<const NamedRecipe> named_recipes() {
  static constexpr std::array kRecipes = {
      NamedRecipe{"4bit", R"({"experts": "q4_k", "trunk": "q5_k", "embedding": "q8_0", "output": "q6_k"})"},
      NamedRecipe{
          "3bit",
          R"({"experts": "q3_k", "trunk": "q4_k", "embedding": "q8_0", "output": "q5_k", "shared_expert": "q5_k"})"},
      NamedRecipe{"2bit", R"({"experts": "affine2", "down": "q2_k", "trunk": "iq4_xs", "embedding": "q6_k"})"},
  };
  return kRecipes;
}

}  // namespace flashmoe
