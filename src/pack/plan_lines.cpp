#include "pack/plan_lines.h"

#include <algorithm>

namespace flashmoe {
namespace {

void add(PackPlan& plan, const std::string& what, const std::string& from, const std::string& to, uint64_t source_bytes,
         uint64_t bytes) {
  plan.source_bytes += source_bytes;
  plan.packed_bytes += bytes;
  for (auto& line : plan.lines) {
    if (line.what != what || line.from != from || line.to != to) continue;
    line.source_bytes += source_bytes;
    line.bytes += bytes;
    return;
  }
  plan.lines.push_back({what, from, to, source_bytes, bytes});
}

std::string word_of_result(const Conversion& c) { return c.as_it_is() ? "the same" : format_word(c.to.format); }

}  // namespace

void add_lines(const PackSource& source, PackPlan& plan) {
  for (const TrunkTensor& tensor : source.trunk()) {
    const Conversion& c = tensor.matrix;
    if (tensor.raw_type) {
      add(plan, "trunk", "other", "the same", c.from.bytes(), c.from.bytes());
    } else {
      add(plan, "trunk", format_word(c.from.format), word_of_result(c), c.from.bytes(), c.to.bytes());
    }
  }
  const Manifest& manifest = source.manifest();
  const auto n = static_cast<uint64_t>(manifest.n_experts);
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    const uint64_t record_bytes = manifest.layers[i].record_bytes();
    plan.n_experts += n;
    plan.expert_bytes += n * record_bytes;
    plan.bytes_per_expert = std::max(plan.bytes_per_expert, record_bytes);
    constexpr const char* kWhat[] = {"experts, gate", "experts, up", "experts, down"};
    for (size_t m = 0; m < 3; ++m) {
      const Conversion c = source.expert(static_cast<int>(i), 0, m);
      add(plan, kWhat[m], format_word(c.from.format), word_of_result(c), n * c.from.bytes(), n * c.to.bytes());
    }
  }
}

}  // namespace flashmoe
