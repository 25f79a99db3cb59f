#include <algorithm>

#include "engine/trace_pass.h"

namespace flashmoe {
namespace {

constexpr double kSecond = 1e-9;

void add_stages(const TraceStep& step, std::array<double, kStageCount>& seconds) {
  const auto add = [&](Stage stage, uint64_t ns) {
    seconds[static_cast<size_t>(stage)] += kSecond * static_cast<double>(ns);
  };
  add(Stage::embed, step.embed_ns);
  add(Stage::logits, step.logits_ns);
  for (const TraceLayer& layer : step.layers) {
    for (size_t i = 0; i < layer.stage_ns.size(); ++i) add(kStagesOfLayer[i], layer.stage_ns[i]);
  }
}

// Sums of a period that is being filled.
struct Sums {
  double hits = 0, misses = 0, bytes = 0, seconds = 0;
  uint64_t n_tokens = 0;

  void add(const TraceStep& step, double step_s, const std::vector<double>& bytes_of_layer) {
    for (size_t l = 0; l < step.layers.size(); ++l) {
      const int missed = step.layers[l].n_missed();
      misses += missed;
      hits += static_cast<double>(step.layers[l].outcomes.size()) - missed;
      bytes += missed * bytes_of_layer[l];
    }
    seconds += step_s;
    n_tokens += static_cast<uint64_t>(step.n_rows);
  }
  TracePeriod period() const {
    const auto n = static_cast<double>(n_tokens);
    return {.n_tokens = n_tokens,
            .hit_rate = hits + misses > 0 ? hits / (hits + misses) : 0,
            .bytes_per_token = bytes / n,
            .gb_per_s = seconds > 0 ? bytes / seconds * 1e-9 : 0};
  }
};

std::vector<double> layer_bytes(const TraceHeader& header) {
  std::vector<double> bytes(static_cast<size_t>(header.n_layers));
  for (const SlotClass& slots : header.classes) {
    for (const int layer : slots.layers) bytes[static_cast<size_t>(layer)] = static_cast<double>(slots.slot_bytes);
  }
  return bytes;
}

}  // namespace

TraceTimeline draw_trace(const TraceQuestion& question, int n_periods) {
  TracePasses passes(question, "reading the trace", 1);
  const std::vector<double> bytes = layer_bytes(passes.header());
  const auto n_most = static_cast<uint64_t>(n_periods);
  const uint64_t tokens_each = std::max<uint64_t>(1, (passes.end().n_decoded + n_most - 1) / n_most);
  TraceTimeline t;
  Sums sums;
  uint64_t n_decoded = 0, n_prefilled = 0;
  const auto end_period = [&] {
    if (sums.n_tokens > 0) t.periods.push_back(sums.period());
    sums = {};
  };
  passes.pass([&](const TraceStep& step, const TraceStep* next) {
    add_stages(step, step.decode ? t.decode_stage_s : t.prefill_stage_s);
    if (!step.decode) {
      n_prefilled += static_cast<uint64_t>(step.n_rows);
      return;
    }
    const double step_s = kSecond * static_cast<double>(decode_ns(step, next));
    sums.add(step, step_s, bytes);
    n_decoded += static_cast<uint64_t>(step.n_rows);
    t.latency_ms.insert(t.latency_ms.end(), static_cast<size_t>(step.n_rows), 1e3 * step_s);
    if (sums.n_tokens >= tokens_each) end_period();
  });
  end_period();
  for (double& s : t.decode_stage_s) s /= static_cast<double>(std::max<uint64_t>(1, n_decoded));
  for (double& s : t.prefill_stage_s) s /= static_cast<double>(std::max<uint64_t>(1, n_prefilled));
  std::sort(t.latency_ms.begin(), t.latency_ms.end());
  return t;
}

}  // namespace flashmoe
