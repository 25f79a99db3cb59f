#include "sampling/grammar/json_schema.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "flashmoe/json_extent.h"
#include "sampling/grammar/pattern.h"

namespace flashmoe {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxNesting = 128;
constexpr int kMaxReferences = 200;        // $ref and combinations inside each other, without a value between
constexpr size_t kMaxAlternatives = 2000;  // of one value
constexpr size_t kMaxWork = 50'000'000;    // comparisons; a second or so
constexpr size_t kMaxPatternWork = 50'000'000;
constexpr int32_t kMaxCharacters = 10'000;  // that are counted

// Looks for `wanted` among all that is inside `json`; appends the way to it.
bool find_place(const SchemaJson& json, const SchemaJson& wanted, std::string& path) {
  if (&json == &wanted) return true;
  const size_t length = path.size();
  size_t index = 0;
  for (const auto& [name, inner] : json.items()) {
    if (!json.is_structured()) break;
    path += '/';
    for (const char c : json.is_array() ? fmt::format("{}", index++) : name) {
      path += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    }
    if (find_place(inner, wanted, path)) return true;
    path.resize(length);
  }
  return false;
}

}  // namespace

SchemaJson parse_schema(std::string_view text, std::string_view what) {
  if (text.size() > kMaxBytes) fail(Fault::input, "{} is longer than {} bytes", what, kMaxBytes);
  if (json_extent(text).n_levels > kMaxNesting) {
    fail(Fault::input, "{} is nested more than {} deep", what, kMaxNesting);
  }
  try {
    return SchemaJson::parse(text);  // with a callback it looks through a whole list at the end of each object in it
  } catch (const nlohmann::json::exception& error) {
    std::string reason = error.what();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    fail(Fault::input, "{} is no JSON: {}", what, reason);
  }
}

JsonSchema::JsonSchema(Automaton& automaton, JsonValues& values, const SchemaJson& document, std::string name)
    : a_(automaton),
      values_(values),
      document_(document),
      name_(std::move(name)),
      work_left_(kMaxWork),
      pattern_work_left_(kMaxPatternWork) {}

std::string JsonSchema::place(const SchemaJson& schema) const {
  constexpr size_t kShown = 200;
  std::string path = "#";
  find_place(document_, schema, path);
  return fmt::format("{} at {}", name_, path.size() <= kShown ? path : path.substr(0, kShown) + "...");
}

void JsonSchema::work(size_t n) {
  if (n > work_left_) fail(Fault::input, "{}: too many combinations of alternatives", name_);
  work_left_ -= n;
}

std::vector<Shape> JsonSchema::shapes(const Schemas& schemas) {
  std::vector<Shape> all(1);
  for (const SchemaJson* schema : schemas) all = both(std::move(all), shapes_of(*schema, 0), *schema);
  return all;
}

std::vector<Shape> JsonSchema::shapes_of(const SchemaJson& schema, int depth) {
  if (depth > kMaxReferences) {
    fail(Fault::input, "{}: more than {} references and combinations inside each other", place(schema), kMaxReferences);
  }
  if (schema.is_boolean()) return std::vector<Shape>(schema.get<bool>() ? 1 : 0);
  if (!schema.is_object()) fail(Fault::input, "{}: must be an object, true or false", place(schema));
  if (std::find(referring_.begin(), referring_.end(), &schema) != referring_.end()) {
    fail(Fault::input, "{}: refers to itself without a value between", place(schema));
  }
  referring_.push_back(&schema);
  std::vector<Shape> shapes = shapes_of_object(schema, depth);
  referring_.pop_back();
  return shapes;
}

std::vector<Shape> JsonSchema::shapes_of_object(const SchemaJson& schema, int depth) {
  work(50 + schema.size());  // so many comparisons' time
  std::vector<Shape> shapes = {read_shape(schema, [&] { return place(schema); })};
  const size_t n_required = shapes[0].required.size();
  work(shapes[0].properties.size() + n_required * n_required);
  for (const auto& [keyword, value] : schema.items()) {
    if (keyword == "$ref") {
      shapes = both(std::move(shapes), shapes_of(resolve(schema, value), depth + 1), schema);
      continue;
    }
    if (keyword != "allOf" && keyword != "anyOf" && keyword != "oneOf") continue;
    if (!value.is_array()) fail(Fault::input, "{}: '{}' must be a list", place(schema), keyword);
    if (keyword == "oneOf") {
      shapes = both(std::move(shapes), one_of(schema, value, depth), schema);
      continue;
    }
    std::vector<Shape> any;
    for (const SchemaJson& inner : value) {
      auto of_inner = shapes_of(inner, depth + 1);
      if (keyword == "allOf") {
        shapes = both(std::move(shapes), of_inner, schema);
      } else {
        std::move(of_inner.begin(), of_inner.end(), std::back_inserter(any));
        limit_alternatives(any.size(), schema);
      }
    }
    if (keyword == "anyOf") shapes = both(std::move(shapes), any, schema);
  }
  return shapes;
}

// Exactly one may hold: the alternatives must be seen to exclude each other.
std::vector<Shape> JsonSchema::one_of(const SchemaJson& schema, const SchemaJson& alternatives, int depth) {
  std::vector<Shape> all;
  for (const SchemaJson& alternative : alternatives) {
    auto shapes = shapes_of(alternative, depth + 1);
    for (const Shape& one : all) {
      for (const Shape& other : shapes) {
        work(1 + one.properties.size() * (1 + other.properties.size()) +
             (one.choices ? one.choices->size() : 0) * (other.choices ? other.choices->size() : 1));
        if (are_disjoint(one, other)) continue;
        fail(Fault::input,
             "{}: alternatives of 'oneOf' may hold at once; tell them apart by type or by a required "
             "property with "
             "a const, or use anyOf",
             place(schema));
      }
    }
    std::move(shapes.begin(), shapes.end(), std::back_inserter(all));
    limit_alternatives(all.size(), schema);
  }
  return all;
}

void JsonSchema::limit_alternatives(size_t n, const SchemaJson& schema) const {
  if (n <= kMaxAlternatives) return;
  fail(Fault::input, "{}: more than {} alternatives", place(schema), kMaxAlternatives);
}

std::vector<Shape> JsonSchema::both(std::vector<Shape> a, const std::vector<Shape>& b, const SchemaJson& schema) {
  std::vector<Shape> out;
  for (Shape& one : a) {
    for (const Shape& other : b) {
      const auto size = [](const Shape& shape) {
        return 1 + shape.properties.size() + shape.required.size() + shape.prefix.size() +
               (shape.choices ? shape.choices->size() : 0);
      };
      work(size(one) * size(other));
      Shape merged = one;
      if (merge(merged, other)) out.push_back(std::move(merged));
      limit_alternatives(out.size(), schema);
    }
  }
  return out;
}

const SchemaJson& JsonSchema::resolve(const SchemaJson& schema, const SchemaJson& ref) const {
  const auto refuse = [&](std::string_view reason) { fail(Fault::input, "{}: '$ref' {}", place(schema), reason); };
  if (!ref.is_string()) refuse("must be a string");
  const auto& text = ref.get_ref<const std::string&>();
  if (!text.starts_with('#')) refuse("leads out of the schema; only #... is followed");
  try {
    return document_.at(SchemaJson::json_pointer(text.substr(1)));
  } catch (const nlohmann::json::exception&) {
    fail(Fault::input, "{}: '$ref' leads nowhere: {}", place(schema), text);
  }
}

CharDfa JsonSchema::texts(const Shape& shape) {
  const auto refuse = [&](const std::string& pattern, std::string_view reason) {
    fail(Fault::input, "{}: the pattern '{}' cannot be enforced: {}", name_, pattern.substr(0, 100), reason);
  };
  const bool counted = shape.least_characters > 0 || shape.most_characters != Automaton::kUnlimited;
  const int32_t last = shape.most_characters == Automaton::kUnlimited ? shape.least_characters : shape.most_characters;
  if (last > kMaxCharacters) {
    fail(Fault::input, "{}: a length of {} characters cannot be enforced: at most {} are counted", name_, last,
         kMaxCharacters);
  }
  CharDfa all = texts_of_length(shape.least_characters, shape.most_characters);
  bool is_first = !counted;
  for (const std::string& pattern : shape.patterns) {
    auto found = patterns_.find(pattern);
    if (found == patterns_.end()) {
      CompiledPattern compiled = compile_pattern(pattern, pattern_work_left_);
      if (!compiled.refusal.empty()) refuse(pattern, compiled.refusal);
      found = patterns_.emplace(pattern, std::move(compiled.dfa)).first;
    }
    work(found->second.states.size() * (is_first ? 1 : 100));
    all = is_first ? found->second : intersection(all, found->second);
    is_first = false;
    if (all.states.empty()) refuse(pattern, "together with lengths or other patterns it needs too many states");
    if (!all.trim()) refuse(pattern, "no text meets it together with the lengths or other patterns");
  }
  return all;
}

std::vector<const SchemaJson*> JsonSchema::fitting_choices(const Shape& shape) {
  std::vector<const SchemaJson*> fitting;
  for (const SchemaJson* choice : *shape.choices) {
    if (choice->is_structured()) {
      const bool plain = shape.properties.empty() && shape.required.empty() && shape.prefix.empty() &&
                         shape.items.empty() && shape.open && shape.least_items == 0 &&
                         shape.most_items == Automaton::kUnlimited;
      if (!plain) {
        fail(Fault::input,
             "{}: an array or object among the choices, and keywords about it beside them, "
             "cannot be enforced together",
             place(*choice));
      }
      if (!shape.allows(choice->is_array() ? Shape::array : Shape::object)) continue;
    } else {
      if (!fits(*choice, shape)) continue;
      if (choice->is_string() && !shape.patterns.empty() &&
          !texts(shape).accepts(choice->get_ref<const std::string&>())) {
        continue;
      }
    }
    fitting.push_back(choice);
  }
  return fitting;
}

}  // namespace flashmoe
