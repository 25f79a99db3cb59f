#include "pack/recipe.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shown_name.h"
#include "quant/encode.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxRecipeBytes = kMiB;
constexpr int kAffineGroup = 64;
constexpr std::string_view kExpertRoles[] = {"gate", "up", "down"};
constexpr std::string_view kRoles[] = {"experts",   "gate",   "up",        "down",      "trunk",
                                       "embedding", "output", "attention", "delta_net", "shared_expert",
                                       "router",    "norm",   "mtp"};

constexpr const char* kLowTrunkKey = "trunk_below_4_bits";

bool is_expert_role(std::string_view role) {
  return role == "experts" ||
         std::find(std::begin(kExpertRoles), std::end(kExpertRoles), role) != std::end(kExpertRoles);
}

double bits_per_weight(Format format) {
  const FormatInfo& info = format_info(format);
  const double scales = info.n_scale_matrices * 16.0 / kAffineGroup;
  return 8.0 * info.block_bytes / info.block_values + scales;
}

void check_word(const std::string& word, const std::string& where, Fault fault) {
  const auto format = format_from_word(word);
  if (word == "keep" || (format && can_encode(*format))) return;
  std::string known = "keep";
  for (int i = 0; i < kFormatCount; ++i) {
    if (can_encode(static_cast<Format>(i))) known += ", " + format_word(static_cast<Format>(i));
  }
  fail(fault, "{}: one of {} is expected, not {}", where, known, in_quotes(word));
}

// JSON keeps the last of values with one key; a recipe that says two things of a part is refused instead.
Json parse(const std::string& text, const std::string& path) {
  std::vector<std::set<std::string>> keys;  // of the objects around
  const auto look = [&](int, Json::parse_event_t event, const Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      fail(Fault::input, "{}: has {} twice", path, in_quotes(value.get<std::string>()));
    return true;
  };
  return Json::parse(text, look, false);
}

// "3" or "0-7".
std::optional<std::pair<int, int>> parse_layers(std::string_view text) {
  int first = 0, last = 0;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, first);
  if (error != std::errc() || first < 0) return std::nullopt;
  last = first;
  if (at != end) {
    if (*at != '-') return std::nullopt;
    const auto [stop, wrong] = std::from_chars(at + 1, end, last);
    if (wrong != std::errc() || stop != end || last < first) return std::nullopt;
  }
  return std::pair(first, last);
}

}  // namespace

bool fits(Format format, int64_t cols) {
  if (n_scale_matrices(format) > 0) return cols % kAffineGroup == 0;
  return cols % format_info(format).block_values == 0;
}

Recipe::Recipe(const PackOptions& options) {
  if (!options.recipe.empty()) read(options.recipe);
  take("--experts", "experts", options.experts);
  take("--trunk", "trunk", options.trunk);
  take("--draft-head", "mtp", options.draft_head);
  for_draft_head_ = !options.draft_head.empty();
  if (options.scale_type == "bf16") {
    scale_type_ = ScaleType::bf16;
  } else if (!options.scale_type.empty() && options.scale_type != "f16") {
    fail(Fault::usage, "--scale-type: f16 or bf16 is expected, not {}", in_quotes(options.scale_type));
  }
  if (!options.scale_type.empty() && !names([](Format format) { return n_scale_matrices(format) > 0; })) {
    fail(Fault::usage, "--scale-type: only affine formats have such scales, and none is named");
  }
  if (!options.imatrix.empty() && !names([](Format format) { return format_info(format).block_values > 1; })) {
    fail(Fault::usage, "--imatrix: nothing is quantised; name formats with --experts, --trunk or --recipe");
  }
}

void Recipe::take(const char* option, const char* role, const std::string& word) {
  if (word.empty()) return;
  check_word(word, option, Fault::usage);
  const bool draft_head = role == std::string_view("mtp");
  const auto meant = [&](const auto& named) {
    return draft_head ? named.first == role : is_expert_role(named.first) == is_expert_role(role);
  };
  std::erase_if(words_, meant);
  for (Rule& rule : rules_) std::erase_if(rule.words, meant);
  words_[role] = word;
  if (!low_trunk_) refuse_low_trunk({{role, word}}, option, Fault::usage);
}

bool Recipe::names(bool (*is_such)(Format)) const {
  const auto has = [is_such](const Words& words) {
    return std::any_of(words.begin(), words.end(), [is_such](const auto& named) {
      const auto format = format_from_word(named.second);
      return format && is_such(*format);
    });
  };
  return has(words_) || std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) { return has(rule.words); });
}

Recipe::Words Recipe::read_words(const Json& json, const std::string& path, const char* more) const {
  Words words;
  for (const auto& [key, value] : json.items()) {
    if (key == more || (key == kLowTrunkKey && *more != '\0')) continue;
    if (std::find(std::begin(kRoles), std::end(kRoles), key) == std::end(kRoles)) {
      fail(Fault::input, "{}: unknown key {}; known are {}, layers, {}", path, in_quotes(key), fmt::join(kRoles, ", "),
           kLowTrunkKey);
    }
    if (!value.is_string()) fail(Fault::input, "{}: {} is not the name of a format", path, in_quotes(key));
    words[key] = value.get<std::string>();
    check_word(words[key], fmt::format("{}: {}", path, in_quotes(key)), Fault::input);
  }
  return words;
}

void Recipe::refuse_low_trunk(const Words& words, const std::string& where, Fault fault) {
  for (const auto& [role, word] : words) {
    if (is_expert_role(role) || role == "mtp" || word == "keep") continue;
    const double bits = bits_per_weight(*format_from_word(word));
    if (bits >= 4) continue;
    fail(
        fault,
        "{}: {} for {} is {:.1f} bits a weight: below 4 the trunk loses more than it saves; a recipe with \"{}\": true "
        "allows it",
        where, word, role, bits, kLowTrunkKey);
  }
}

void Recipe::read(const std::string& name) {
  name_ = name;
  for (const NamedRecipe& known : named_recipes()) {
    if (known.name == name) return read_json(Json::parse(known.json), name);
  }
  if (std::error_code error; !std::filesystem::exists(name, error)) {
    std::string known;
    for (const NamedRecipe& recipe : named_recipes()) known += fmt::format("{}, ", recipe.name);
    fail(Fault::input, "--recipe: {} is neither a file nor one of those that come with the program: {}",
         in_quotes(name), known.substr(0, known.size() - 2));
  }
  read_json(parse(read_text(*open_file(name), kMaxRecipeBytes), name), name);
}

void Recipe::read_json(const Json& json, const std::string& path) {
  if (!json.is_object()) fail(Fault::input, "{}: a recipe is a JSON object, such as {{\"experts\": \"q4_k\"}}", path);
  if (json.contains(kLowTrunkKey)) {
    if (!json[kLowTrunkKey].is_boolean()) fail(Fault::input, "{}: '{}' is true or false", path, kLowTrunkKey);
    low_trunk_ = json[kLowTrunkKey].get<bool>();
  }
  words_ = read_words(json, path, "layers");
  if (!low_trunk_) refuse_low_trunk(words_, path, Fault::input);
  if (!json.contains("layers")) return;
  if (!json["layers"].is_object()) fail(Fault::input, "{}: 'layers' is not an object", path);
  for (const auto& [key, value] : json["layers"].items()) {
    const auto layers = parse_layers(key);
    if (!layers || !value.is_object()) {
      fail(Fault::input, "{}: {} in 'layers': a layer or a range such as \"0-7\" with an object is expected", path,
           in_quotes(key));
    }
    rules_.push_back({layers->first, layers->second, read_words(value, path, "")});
    if (!low_trunk_) refuse_low_trunk(rules_.back().words, path, Fault::input);
  }
}

void Recipe::check_layers(int n_layers) const {
  for (const Rule& rule : rules_) {
    if (rule.last <= n_layers) continue;
    fail(Fault::input, "{}: 'layers': the model has no layer {}; its layers are 0 to {}, a draft head is {}", name_,
         rule.last, n_layers - 1, n_layers);
  }
}

const std::string* Recipe::find(const Words& words, std::string_view role) {
  if (const auto found = words.find(role); found != words.end()) return &found->second;
  const auto found = words.find(is_expert_role(role) ? "experts" : "trunk");
  return found == words.end() ? nullptr : &found->second;
}

std::optional<Format> Recipe::format(std::string_view role, int layer) const {
  const Words* words = &words_;
  for (const Rule& rule : rules_) {
    if (role == "mtp" && for_draft_head_) break;
    if (layer >= rule.first && layer <= rule.last && find(rule.words, role) != nullptr) words = &rule.words;
  }
  const std::string* word = find(*words, role);
  if (word == nullptr || *word == "keep") return std::nullopt;
  if (words->contains(role)) return format_from_word(*word);
  // What a trunk's format does not reach, being small and touchy.
  if (role == "router" || role == "norm") return Format::f32;
  if (role == "mtp") return Format::q8_0;
  return format_from_word(*word);
}

Json Recipe::settings() const {
  Json json = {{"formats", words_}, {"scale_type", scale_type_ == ScaleType::bf16 ? "bf16" : "f16"}};
  for (const Rule& rule : rules_) {
    json["layers"].push_back({{"first", rule.first}, {"last", rule.last}, {"formats", rule.words}});
  }
  return json;
}

}  // namespace flashmoe
