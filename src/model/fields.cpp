#include "model/fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace flashmoe {
namespace {

using nlohmann::json;

// Follows a dotted name; null when any part is absent.
const json* step_into(const json& object, const std::string& name) {
  const size_t dot = name.find('.');
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name.substr(0, dot));
  if (found == object.end() || found->is_null()) return nullptr;
  return dot == std::string::npos ? &*found : step_into(*found, name.substr(dot + 1));
}

std::optional<MetaValue> to_value(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return std::nullopt;
  if (!value.empty() && std::all_of(value.begin(), value.end(), [](const json& i) { return i.is_number_integer(); })) {
    return value.get<std::vector<int64_t>>();
  }
  std::vector<std::string> texts;
  for (const json& item : value) {
    if (!item.is_string()) return std::nullopt;
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::optional<double> to_number(const MetaValue& value) {
  if (const auto* u = std::get_if<uint64_t>(&value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(&value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&value)) return *d;
  return std::nullopt;
}

}  // namespace

Fields Fields::of_gguf(const Checkpoint& checkpoint, std::string prefix) {
  Fields fields(checkpoint);
  fields.prefix_ = std::move(prefix);
  return fields;
}

Fields Fields::of_config(const Checkpoint& checkpoint, const std::string& inner) {
  Fields fields(checkpoint);
  fields.outer_ = &checkpoint.config();
  const json* found = step_into(checkpoint.config(), inner);
  fields.inner_ = found != nullptr && found->is_object() ? found : fields.outer_;
  return fields;
}

std::optional<MetaValue> Fields::find(const std::string& name) const {
  if (outer_ == nullptr) {
    const auto found = checkpoint_->metadata().find(prefix_ + name);
    if (found == checkpoint_->metadata().end()) return std::nullopt;
    return found->second;
  }
  const json* value = step_into(*inner_, name);
  if (value == nullptr) value = step_into(*outer_, name);
  return value == nullptr ? std::nullopt : to_value(*value);
}

std::optional<double> Fields::optional_real(const std::string& name, double low, double high) const {
  const auto value = find(name);
  if (!value) return std::nullopt;
  const auto number = to_number(*value);
  if (!number) fail(Fault::input, "{}: {}{} is not a number", checkpoint_->path(), prefix_, name);
  if (!(*number >= low && *number <= high)) {
    fail(Fault::input, "{}: {}{} is {}, expected {} to {}", checkpoint_->path(), prefix_, name, *number, low, high);
  }
  return number;
}

std::optional<int64_t> Fields::optional_integer(const std::string& name, int64_t low, int64_t high) const {
  const auto number = optional_real(name, static_cast<double>(low), static_cast<double>(high));
  if (!number) return std::nullopt;
  if (*number != static_cast<double>(static_cast<int64_t>(*number))) {
    fail(Fault::input, "{}: {}{} is {}, expected a whole number", checkpoint_->path(), prefix_, name, *number);
  }
  return static_cast<int64_t>(*number);
}

int64_t Fields::integer(const std::string& name, int64_t low, int64_t high) const {
  const auto value = optional_integer(name, low, high);
  if (!value) fail(Fault::input, "{}: {}{} is missing", checkpoint_->path(), prefix_, name);
  return *value;
}

double Fields::real(const std::string& name, double low, double high) const {
  const auto value = optional_real(name, low, high);
  if (!value) fail(Fault::input, "{}: {}{} is missing", checkpoint_->path(), prefix_, name);
  return *value;
}

std::optional<bool> Fields::optional_flag(const std::string& name) const {
  const auto value = find(name);
  if (!value) return std::nullopt;
  const bool* flag = std::get_if<bool>(&*value);
  if (flag == nullptr) fail(Fault::input, "{}: {}{} is not true or false", checkpoint_->path(), prefix_, name);
  return *flag;
}

std::optional<std::string> Fields::optional_text(const std::string& name) const {
  const auto value = find(name);
  if (!value) return std::nullopt;
  const auto* text = std::get_if<std::string>(&*value);
  if (text == nullptr) fail(Fault::input, "{}: {}{} is not a text", checkpoint_->path(), prefix_, name);
  return *text;
}

std::optional<std::vector<int64_t>> Fields::optional_integers(const std::string& name) const {
  const auto value = find(name);
  if (!value) return std::nullopt;
  if (const auto* numbers = std::get_if<std::vector<int64_t>>(&*value)) return *numbers;
  const auto* texts = std::get_if<std::vector<std::string>>(&*value);  // of an empty list the kind is not known
  if (texts == nullptr || !texts->empty()) {
    fail(Fault::input, "{}: {}{} is not a list of whole numbers", checkpoint_->path(), prefix_, name);
  }
  return std::vector<int64_t>();
}

std::optional<std::vector<std::string>> Fields::optional_texts(const std::string& name) const {
  const auto value = find(name);
  if (!value) return std::nullopt;
  const auto* texts = std::get_if<std::vector<std::string>>(&*value);
  if (texts == nullptr) fail(Fault::input, "{}: {}{} is not a list of texts", checkpoint_->path(), prefix_, name);
  return *texts;
}

void Fields::refuse(const std::string& name, const std::string& value) const {
  fail(Fault::unsupported, "{}: {}{} is {}, which this version does not compute", checkpoint_->path(), prefix_, name,
       value);
}

void Fields::expect(const std::string& name, const char* computed) const {
  const std::string value = optional_text(name).value_or(computed);
  if (value != computed) refuse(name, value);
}

void Fields::expect(const std::string& name, bool computed) const {
  const bool value = optional_flag(name).value_or(computed);
  if (value != computed) refuse(name, value ? "true" : "false");
}

void Fields::expect(const std::string& name, int64_t computed) const {
  const int64_t value = optional_integer(name, INT32_MIN, INT32_MAX).value_or(computed);
  if (value != computed) refuse(name, fmt::format("{}", value));
}

}  // namespace flashmoe
