#include "pack/recipe.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/random.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

Recipe recipe_of(const TempDir& folder, std::string_view json) {
  PackOptions options;
  options.recipe = folder.write("recipe.json", json);
  return Recipe(options);
}

TEST(Recipe, GoesFromTheMostSpecialToTheMostGeneral) {
  const TempDir folder;
  const Recipe recipe = recipe_of(folder, R"({"experts": "q4_k", "down": "q6_k", "trunk": "q5_k", "output": "bf16",
      "layers": {"0-3": {"experts": "q8_0"}, "2": {"attention": "f16"}, "3": {"down": "keep"}}})");
  EXPECT_EQ(recipe.format("gate", 9), Format::q4_k);
  EXPECT_EQ(recipe.format("down", 9), Format::q6_k);
  EXPECT_EQ(recipe.format("down", 0), Format::q8_0);
  EXPECT_EQ(recipe.format("down", 3), std::nullopt);
  EXPECT_EQ(recipe.format("attention", 2), Format::f16);
  EXPECT_EQ(recipe.format("attention", 3), Format::q5_k);
  EXPECT_EQ(recipe.format("output", -1), Format::bf16);
}

TEST(Recipe, SmallAndTouchyPartsKeepTheirBits) {
  PackOptions options;
  options.trunk = "q4_k";
  const Recipe recipe(options);
  EXPECT_EQ(recipe.format("router", 0), Format::f32);
  EXPECT_EQ(recipe.format("norm", -1), Format::f32);
  EXPECT_EQ(recipe.format("mtp", 8), Format::q8_0);
  EXPECT_EQ(recipe.format("embedding", -1), Format::q4_k);
  EXPECT_EQ(recipe.format("gate", 0), std::nullopt);
}

TEST(Recipe, OptionsGoBeforeTheFile) {
  const TempDir folder;
  PackOptions options;
  options.recipe = folder.write("recipe.json", R"({"experts": "q4_k", "trunk": "q8_0"})");
  options.experts = "keep";
  EXPECT_EQ(Recipe(options).format("up", 0), std::nullopt);
  EXPECT_EQ(Recipe(options).format("output", -1), Format::q8_0);
  // An option means all that it names, whatever the file says of parts and layers.
  options.recipe = folder.write("parts.json", R"({"down": "q2_k", "output": "bf16", "mtp": "q4_k",
      "layers": {"0-3": {"up": "q3_k", "attention": "q5_k"}, "4": {"trunk": "q5_k"}}})");
  EXPECT_EQ(Recipe(options).format("attention", 1), Format::q5_k);
  options.trunk = "q6_k";
  options.draft_head = "q3_k";
  const Recipe recipe(options);
  for (const char* role : {"gate", "up", "down"}) EXPECT_EQ(recipe.format(role, 1), std::nullopt) << role;
  for (const char* role : {"output", "attention"}) EXPECT_EQ(recipe.format(role, 1), Format::q6_k) << role;
  EXPECT_EQ(recipe.format("mtp", 4), Format::q3_k);
}

TEST(Recipe, NamedOnesAreGoodForRowsOf256AndLoseBits) {
  double last = 100;
  for (const NamedRecipe& named : named_recipes()) {
    PackOptions options;
    options.recipe = named.name;
    const Recipe recipe(options);
    double bits = 0;
    for (const char* role : {"gate", "up", "down"}) {
      const auto format = recipe.format(role, 0);
      ASSERT_TRUE(format && fits(*format, 256)) << named.name;
      bits += 8.0 * format_info(*format).block_bytes / format_info(*format).block_values / 3;
    }
    EXPECT_LT(bits, last);
    last = bits;
    for (const char* role : {"embedding", "output", "attention", "delta_net", "shared_expert"}) {
      EXPECT_TRUE(fits(recipe.format(role, 0).value(), 256)) << role;
    }
  }
}

TEST(Recipe, TrunksBelowFourBitsAreRefusedUnlessAllowed) {
  const TempDir folder;
  for (const char* json :
       {R"({"trunk": "q3_k"})", R"({"attention": "affine3"})", R"({"layers": {"0": {"output": "q2_k"}}})"}) {
    expect_error([&] { recipe_of(folder, json); }, Fault::input, {"below 4", "trunk_below_4_bits", "recipe.json"});
  }
  PackOptions options;
  options.trunk = "affine2";
  expect_error([&] { Recipe{options}; }, Fault::usage, {"--trunk", "affine2", "trunk_below_4_bits"});
  options.recipe = folder.write("allow.json", R"({"trunk_below_4_bits": true})");
  EXPECT_EQ(Recipe(options).format("output", -1), Format::affine2);
  EXPECT_EQ(recipe_of(folder, R"({"experts": "q2_k", "trunk": "affine4"})").format("gate", 0), Format::q2_k);
  // A draft head's errors cost time, not quality.
  EXPECT_EQ(recipe_of(folder, R"({"mtp": "q2_k"})").format("mtp", 4), Format::q2_k);
}

TEST(Recipe, EverythingElseIsRefusedByName) {
  const TempDir folder;
  const std::pair<const char*, const char*> kBad[] = {
      {"[1]", "JSON object"},
      {"{", "JSON object"},
      {R"({"expertz": "q4_k"})", "'expertz'"},
      {R"({"experts": 4})", "'experts'"},
      {R"({"experts": "q4_k", "down": "q6_k", "experts": "q8_0"})", "'experts' twice"},
      {R"({"layers": {"0": {"down": "q6_k"}, "0": {"up": "q6_k"}}})", "'0' twice"},
      {R"({"experts": "q9_k"})", "'q9_k'"},
      {R"({"experts": "iq2_xs"})", "'iq2_xs'"},
      {R"({"layers": []})", "'layers'"},
      {R"({"layers": {"3-1": {}}})", "'3-1'"},
      {R"({"layers": {"-1": {}}})", "'-1'"},
      {R"({"layers": {"1x": {}}})", "'1x'"},
      {R"({"layers": {"99999999999": {}}})", "'99999999999'"},
      {R"({"layers": {"1": "q4_k"}})", "'1'"},
      {R"({"layers": {"1": {"layers": {}}}})", "'layers'"},
      {R"({"layers": {"1": {"trunk_below_4_bits": true}}})", "'trunk_below_4_bits'"},
      {R"({"trunk_below_4_bits": "yes"})", "true or false"},
  };
  for (const auto& [json, part] : kBad) expect_error([&] { recipe_of(folder, json); }, Fault::input, {part});
  PackOptions options;
  options.recipe = folder / "missing.json";
  expect_error([&] { Recipe{options}; }, Fault::input, {"missing.json", "neither a file nor"});
  options.recipe.clear();
  options.experts = "iq2_xs";
  expect_error([&] { Recipe{options}; }, Fault::usage, {"--experts", "'iq2_xs'"});
  options.experts.clear();
  options.scale_type = "f32";
  expect_error([&] { Recipe{options}; }, Fault::usage, {"--scale-type", "'f32'"});
}

// A byte off, anywhere: read, or refused with one line.
TEST(Recipe, DamagedFilesAreReadOrRefused) {
  const TempDir folder;
  const std::string whole =
      R"({"experts": "q4_k", "down": "q6_k", "trunk_below_4_bits": false, "layers": {"0-3": {"trunk": "q8_0"}}})";
  Random random(5);
  int n_read = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = whole;
    text[random.below(text.size())] = static_cast<char>(random.below(256));
    if (random.below(4) == 0) text.resize(random.below(text.size()));
    try {
      recipe_of(folder, text);
      ++n_read;
    } catch (const Error& error) {
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
    }
  }
  EXPECT_GT(n_read, 0);
  EXPECT_LT(n_read, 1500);
}

}  // namespace
}  // namespace flashmoe
