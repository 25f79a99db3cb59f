// Hit rates of the expert cache on routing traces of real models, in %, with slots for 5 to 50 % of the experts, and
// what an access costs.
//   bench_experts [search]
//   bench_experts write FILE TOKENS
// With `search`, a table for many rates of the eviction policy, the best mean last. `write` makes a trace of a model
// that does not exist, with the dimensions of a 35B (40 layers, 8 of 256 experts), for timing what reads traces.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

#include "base/clock.h"
#include "large_trace.h"
#include "support/recorded_traces.h"

namespace flashmoe {
namespace {

constexpr int kShares[] = {5, 10, 20, 30, 50};  // %

struct Model {
  const char* file;
  int n_experts;
  RoutingTrace trace;
};

struct Row {
  EvictionRates rates;
  bool beside = false;       // what a layer computes from has slots beside those of the share
  std::vector<double> hits;  // [n_models * shares]
  double mean = 0;
};

Row measure(const std::vector<Model>& models, const EvictionRates& rates, bool beside = false) {
  Row row{rates, beside, {}};
  for (const Model& m : models) {
    const int computing = beside ? static_cast<int>(m.trace.at(0).at(0).size()) : 0;
    for (const int share : kShares) {
      row.hits.push_back(hit_percent(m.trace, m.n_experts, n_slots_of(m.trace, m.n_experts, share) + computing, rates));
      row.mean += row.hits.back();
    }
  }
  row.mean /= static_cast<double>(row.hits.size());
  return row;
}

void print(const Row& row) {
  std::printf("fast %.2f slow %.3f weight %.2f:", static_cast<double>(row.rates.fast),
              static_cast<double>(row.rates.slow), static_cast<double>(row.rates.fast_weight));
  for (const double hits : row.hits) std::printf(" %5.1f", hits);
  std::printf("  mean %.2f%s\n", row.mean, row.beside ? ", slots to compute from beside the share" : "");
}

// Looking up, evicting and keeping the averages.
void print_cost(const Model& m) {
  const uint64_t start_ns = now_ns();
  double n_picks = 0;
  for (int i = 0; i < 5; ++i) {
    hit_percent(m.trace, m.n_experts, n_slots_of(m.trace, m.n_experts, 20), {});
    for (const auto& token : m.trace) n_picks += static_cast<double>(token.size() * token.at(0).size());
  }
  std::printf("%s, %d experts: %.0f ns an access\n", m.file, m.n_experts, 1e9 * seconds_since(start_ns) / n_picks);
}

int run(bool search) {
  std::vector<Model> models = {{"kimi_linear_300.jsonl", 256, {}}, {"olmoe_299.jsonl", 64, {}}};
  for (Model& m : models) {
    const auto path = trace_path(m.file);
    if (!path) {
      std::fprintf(stderr, "%s is absent\n", m.file);
      return 1;
    }
    m.trace = load_trace(*path);
  }
  if (!search) {
    print(measure(models, {}));
    print(measure(models, {}, true));
    for (const Model& m : models) print_cost(m);
    return 0;
  }
  std::vector<Row> rows;
  for (const float fast : {0.3F, 0.5F, 0.65F, 0.8F}) {
    for (const float slow : {0.015F, 0.03F, 0.05F}) {
      for (const float weight : {0.15F, 0.25F, 0.35F, 0.5F}) rows.push_back(measure(models, {fast, slow, weight}));
    }
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.mean < b.mean; });
  for (const Row& row : rows) print(row);
  return 0;
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::strcmp(argv[1], "write") == 0) {
      flashmoe::write_large_trace(argv[2], std::strtoull(argv[3], nullptr, 10));
      return 0;
    }
    return flashmoe::run(argc > 1 && std::strcmp(argv[1], "search") == 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
