// Which format each part of a model is packed in.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flashmoe/error.h"
#include "flashmoe/pack.h"
#include "quant/format.h"

namespace flashmoe {

class Recipe {
 public:
  // From the options and their recipe, named or a file. Throws Error: usage (an unknown format, a trunk below 4 bits,
  // an option that no format uses), input (the file).
  explicit Recipe(const PackOptions& options);

  // Nothing: as the source has it. `role`: gate, up, down, or one of the trunk's: embedding, output, attention,
  // delta_net, shared_expert, router, norm, mtp. `layer` below 0: in no layer.
  std::optional<Format> format(std::string_view role, int layer) const;
  ScaleType scale_type() const { return scale_type_; }
  bool for_draft_head() const { return for_draft_head_; }  // an option asks for its format: there must be one
  // Throws Error{input} when a rule names layers that a model of n_layers, its draft head counted as one more, lacks.
  void check_layers(int n_layers) const;
  nlohmann::ordered_json settings() const;  // equal settings give equal packed folders

 private:
  using Words = std::map<std::string, std::string, std::less<>>;
  struct Rule {
    int first = 0, last = 0;
    Words words;
  };
  void read(const std::string& name);
  void read_json(const nlohmann::ordered_json& json, const std::string& path);
  static void refuse_low_trunk(const Words& words, const std::string& where, Fault fault);
  void take(const char* option, const char* role, const std::string& word);
  Words read_words(const nlohmann::ordered_json& json, const std::string& path, const char* more) const;
  // Whether any format that is named is one of those.
  bool names(bool (*is_such)(Format)) const;
  static const std::string* find(const Words& words, std::string_view role);

  std::string name_;  // of the recipe, for complaints
  Words words_;
  std::vector<Rule> rules_;  // for layers; the last that fits counts
  ScaleType scale_type_ = ScaleType::f16;
  bool low_trunk_ = false, for_draft_head_ = false;
};

// Recipes that come with the program, the most bits first.
struct NamedRecipe {
  std::string_view name, json;
};
std::span<const NamedRecipe> named_recipes();

// Whether rows of `cols` values are whole blocks, and whole groups of 64 where scales are apart.
bool fits(Format format, int64_t cols);

}  // namespace flashmoe
