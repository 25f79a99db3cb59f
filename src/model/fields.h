// Dimensions out of a checkpoint's own description, each checked against a sane range.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"

namespace flashmoe {

// Values by name: GGUF metadata under a prefix, or an object of config.json. All throw Error{input} that names the
// field when it has the wrong type or lies outside [low, high].
class Fields {
 public:
  static Fields of_gguf(const Checkpoint& checkpoint, std::string prefix);
  // `inner`: an object inside config.json that comes first, such as text_config; may be absent.
  static Fields of_config(const Checkpoint& checkpoint, const std::string& inner);

  bool has(const std::string& name) const { return find(name).has_value(); }
  int64_t integer(const std::string& name, int64_t low, int64_t high) const;
  std::optional<int64_t> optional_integer(const std::string& name, int64_t low, int64_t high) const;
  double real(const std::string& name, double low, double high) const;
  std::optional<double> optional_real(const std::string& name, double low, double high) const;
  std::optional<bool> optional_flag(const std::string& name) const;
  std::optional<std::string> optional_text(const std::string& name) const;
  std::optional<std::vector<int64_t>> optional_integers(const std::string& name) const;
  // Names may step into objects: "rope_parameters.rope_theta". GGUF: the key after the prefix.
  std::optional<std::vector<std::string>> optional_texts(const std::string& name) const;

  // Settings that change what a model computes: throw Error{unsupported} that names the field when it is there with
  // any other value than the one that is computed.
  void expect(const std::string& name, const char* computed) const;
  void expect(const std::string& name, bool computed) const;
  void expect(const std::string& name, int64_t computed) const;

 private:
  [[noreturn]] void refuse(const std::string& name, const std::string& value) const;
  explicit Fields(const Checkpoint& checkpoint) : checkpoint_(&checkpoint) {}
  std::optional<MetaValue> find(const std::string& name) const;
  const Checkpoint* checkpoint_;
  std::string prefix_;                     // gguf
  const nlohmann::json* inner_ = nullptr;  // hugging_face
  const nlohmann::json* outer_ = nullptr;
};

}  // namespace flashmoe
