#include "large_trace.h"

#include <algorithm>

#include "base/random.h"
#include "experts/trace_writer.h"

namespace flashmoe {
namespace {

constexpr int kPromptRows = 512, kLayers = 40, kExperts = 256, kUsed = 8;
constexpr uint64_t kStepNs = 150'000'000;

TraceHeader large_header() {
  TraceHeader h;
  h.model = "large-made-up.gguf";
  h.version = std::string("0");  // GCC 12 sees an overlap in assigning a literal
  h.n_layers = kLayers;
  h.n_experts = kExperts;
  h.n_used = kUsed;
  h.has_outcomes = h.has_times = h.has_weights = h.has_guesses = h.has_sequences = h.has_unasked = true;
  SlotClass slots{.layers = {}, .slot_bytes = 1'769'472, .n_records = kLayers * kExperts, .n_slots = 3000};
  for (int layer = 0; layer < kLayers; ++layer) slots.layers.push_back(layer);
  h.classes = {slots};
  h.format = "Q4_K";
  h.values_per_expert = 3'145'728;
  h.cache_bytes = 3000 * slots.slot_bytes;
  h.ram_bytes = uint64_t{8} << 30;
  return h;
}

// Low numbers often, high ones seldom; another order in each layer.
int32_t skewed(SplitMix& random, int layer) {
  const auto low = std::min({random.below(kExperts), random.below(kExperts), random.below(kExperts)});
  return static_cast<int32_t>((low * 37 + static_cast<uint64_t>(layer) * 11) % kExperts);
}

// One row's picks behind those that are there; `before`: of the token before, or null.
void add_row(SplitMix& random, int layer, const int32_t* before, std::vector<int32_t>& experts) {
  const size_t first = experts.size();
  while (experts.size() < first + kUsed) {
    const bool again = before != nullptr && random.below(3) == 0;
    const int32_t expert = again ? before[random.below(kUsed)] : skewed(random, layer);
    if (std::find(experts.begin() + static_cast<std::ptrdiff_t>(first), experts.end(), expert) == experts.end()) {
      experts.push_back(expert);
    }
  }
}

void fill(SplitMix& random, int n_rows, std::vector<int32_t>& count, TraceStep& step) {
  step.n_rows = n_rows;
  step.runs = {{0, n_rows}};
  step.busy_ns = kStepNs;
  step.logits_ns = kStepNs / 10;
  step.layers.resize(kLayers);
  for (int l = 0; l < kLayers; ++l) {
    TraceLayer& layer = step.layers[static_cast<size_t>(l)];
    std::vector<int32_t> before = layer.experts;
    layer.experts.clear();
    for (int row = 0; row < n_rows; ++row) add_row(random, l, before.empty() ? nullptr : before.data(), layer.experts);
    layer.weights.assign(layer.experts.size(), 1.0F / kUsed);
    layer.group(count);
    layer.outcomes.clear();
    for (size_t i = 0; i < layer.distinct.size(); ++i) {
      layer.outcomes.push_back(random.below(3) == 0 ? Outcome::missed : Outcome::hit);
    }
    layer.guesses.clear();
    if (n_rows == 1) add_row(random, l + 1, nullptr, layer.guesses);
    for (uint64_t& ns : layer.stage_ns) ns = random.below(kStepNs / kLayers / kLayerStages);
  }
}

}  // namespace

void write_large_trace(const std::string& path, uint64_t n_decoded) {
  const TraceHeader header = large_header();
  TraceWriter writer(path, header, uint64_t{1} << 40);
  SplitMix random(1);
  std::vector<int32_t> count(kExperts);
  TraceStep step;
  fill(random, kPromptRows, count, step);
  writer.write(step);
  step.decode = true;
  for (uint64_t i = 1; i <= n_decoded; ++i) {
    fill(random, 1, count, step);
    step.start_ns = i * kStepNs * 2;
    writer.write(step);
  }
  TraceEnd end;
  end.bytes_read = n_decoded << 29;
  end.read_busy_ns = n_decoded * kStepNs;
  writer.finish(end);
}

}  // namespace flashmoe
