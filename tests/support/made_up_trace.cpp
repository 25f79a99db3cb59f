#include "support/made_up_trace.h"

#include "experts/trace_writer.h"
#include "support/random.h"

namespace flashmoe {

TraceHeader made_up_header() {
  TraceHeader h;
  h.model = "made-up.gguf";
  h.version = "0";
  h.n_layers = 3;
  h.n_experts = 12;
  h.n_used = 2;
  h.has_outcomes = h.has_times = h.has_weights = h.has_guesses = h.has_scores = true;
  h.has_sequences = h.has_unasked = h.has_given_back = h.has_beside = true;
  h.classes = {{.layers = {0, 2}, .slot_bytes = 1000, .n_records = 24, .n_slots = 6},
               {.layers = {1}, .slot_bytes = 3000, .n_records = 12, .n_slots = 4}};
  h.format = "Q4_K";
  h.values_per_expert = 2048;
  h.cache_bytes = 18'000;
  h.ram_bytes = 1 << 20;
  h.n_threads = 2;
  h.rates.assign(36, 0.25F);
  return h;
}

TraceStep made_up_step(const TraceHeader& h, uint64_t number, int n_rows, bool decode) {
  Random random(number + 1);
  TraceStep step{.decode = decode, .n_rows = n_rows, .start_ns = number * 5'000'000, .busy_ns = 4'000'000};
  step.runs = {{number, n_rows}};
  step.given_back = {static_cast<int32_t>(number % 5), static_cast<int32_t>(number % 3)};
  step.embed_ns = 1'000;
  step.logits_ns = 100'000;
  std::vector<int32_t> count(static_cast<size_t>(h.n_experts));
  const auto below = [&](int n) { return static_cast<int32_t>(random.below(static_cast<uint64_t>(n))); };
  for (int l = 0; l < h.n_layers; ++l) {
    TraceLayer& layer = step.layers.emplace_back();
    for (int row = 0; row < n_rows; ++row) {
      const int32_t first = below(h.n_experts);
      layer.experts.insert(layer.experts.end(), {first, (first + 1 + below(h.n_experts - 1)) % h.n_experts});
      layer.weights.insert(layer.weights.end(), {0.6F, 0.4F});
      for (int e = 0; e < h.n_experts; ++e) layer.scores.push_back(static_cast<uint8_t>(below(256)));
    }
    layer.group(count);
    for (size_t i = 0; i < layer.distinct.size(); ++i) layer.outcomes.push_back(static_cast<Outcome>(below(4)));
    if (l + 1 < h.n_layers && decode) layer.guesses = {below(h.n_experts), below(h.n_experts)};
    layer.n_guessed = layer.guesses.empty() ? 0 : number % 3;
    layer.n_guessed_beside = layer.n_guessed / 2;
    layer.n_warmed_up = number % 2;
    for (uint64_t& ns : layer.stage_ns) ns = static_cast<uint64_t>(below(1000)) * 100;
  }
  return step;
}

std::string made_up_trace(const std::string& path, int n_decoded, uint64_t most_bytes) {
  const TraceHeader header = made_up_header();
  TraceWriter writer(path, header, most_bytes);
  writer.write(made_up_step(header, 0, 5, false));
  for (int i = 1; i <= n_decoded; ++i) writer.write(made_up_step(header, static_cast<uint64_t>(i), 1, true));
  TraceEnd end;
  end.cache = {.hits = 30, .misses = 10};
  end.bytes_read = 40'000;
  end.read_busy_ns = 20'000;
  writer.finish(end);
  return path;
}

}  // namespace flashmoe
