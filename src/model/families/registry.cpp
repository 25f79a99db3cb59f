#include "model/families/registry.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace flashmoe {
namespace {

struct Row {
  const char* model_type;  // config.json's model_type, of the model or of its text part
  const char* gguf_architecture;
  std::unique_ptr<Family> (*make)(const Checkpoint&);
};

constexpr std::array kFamilies = {
    Row{"qwen3_5_moe", "qwen35moe", make_qwen3_5_moe},
    Row{"qwen3_5_moe_text", "qwen35moe", make_qwen3_5_moe},
    Row{"qwen3_next", "qwen3next", make_qwen3_next},
    Row{"qwen3_moe", "qwen3moe", make_qwen3_moe},
};

// What the checkpoint calls its own family.
std::string family_of(const Checkpoint& checkpoint) {
  if (checkpoint.dialect() == Dialect::gguf) {
    const auto found = checkpoint.metadata().find("general.architecture");
    const auto* name = found == checkpoint.metadata().end() ? nullptr : std::get_if<std::string>(&found->second);
    if (name == nullptr) fail(Fault::input, "{}: metadata general.architecture is missing", checkpoint.path());
    return *name;
  }
  const auto& config = checkpoint.config();
  const auto found = config.find("model_type");
  if (found == config.end() || !found->is_string()) {
    fail(Fault::input, "{}: config.json has no model_type", checkpoint.path());
  }
  return found->get<std::string>();
}

}  // namespace

namespace {

const Row& row_of(const Checkpoint& checkpoint) {
  const std::string family = family_of(checkpoint);
  const bool gguf = checkpoint.dialect() == Dialect::gguf;
  const auto* row = std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Row& candidate) {
    return family == (gguf ? candidate.gguf_architecture : candidate.model_type);
  });
  if (row == kFamilies.end()) {
    std::string known;
    for (const Row& candidate : kFamilies) {
      const std::string name = gguf ? candidate.gguf_architecture : candidate.model_type;
      if (known.find(name + " ") == std::string::npos && !known.ends_with(name))
        known += (known.empty() ? "" : ", ") + name;
    }
    fail(Fault::unsupported, "{}: the model family '{}' is not supported; this version runs: {}", checkpoint.path(),
         family, known);
  }
  return *row;
}

}  // namespace

std::unique_ptr<Family> make_family(const Checkpoint& checkpoint) { return row_of(checkpoint).make(checkpoint); }

std::string gguf_architecture(const Checkpoint& checkpoint) { return row_of(checkpoint).gguf_architecture; }

}  // namespace flashmoe
