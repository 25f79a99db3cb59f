// What a long context costs: decode and prefill speed of a model whose cache is filled with random keys and values
// instead of a prompt that would take minutes.
//
// usage: bench_decode MODEL [POSITION...]      default: 64 8192 32768
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/cpu_features.h"
#include "flashmoe/error.h"
#include "support/loaded_model.h"

namespace flashmoe {
namespace {

constexpr int kDecodeTokens = 32;
constexpr int64_t kPrefillTokens = 512;

void fill(KvCache& kv, const ModelConfig& config, int64_t n_tokens) {
  const auto width = static_cast<size_t>(config.attention.n_kv_heads * config.attention.d_head);
  constexpr size_t kRows = 61;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(kRows * width);
  for (float& value : values) value = normal(random);
  kv.reserve_positions(n_tokens);
  for (int slot = 0; slot < kv.n_slots(); ++slot) {
    for (int64_t p = 0; p < n_tokens; ++p) {
      const auto row = static_cast<size_t>(p) % kRows;
      kv.put(best_kernels(), slot, p, values.data() + row * width, values.data() + (row + 7) % kRows * width);
    }
  }
}

double mix_share(const Profile& profile) {
  uint64_t all = 0;
  for (const auto& kind : profile.times.ns) {
    for (const uint64_t ns : kind) all += ns;
  }
  const auto& attention = profile.times.ns[static_cast<size_t>(LayerKind::attention)];
  return 100.0 * static_cast<double>(attention[static_cast<size_t>(Stage::mix)]) / static_cast<double>(all);
}

// Milliseconds a token, n_steps times n_rows tokens from `position` on.
double measure(LoadedModel& model, Sequence& sequence, int64_t position, int n_steps, int64_t n_rows) {
  sequence.set_n_tokens(position, position % kDeltaChunk);
  std::vector<int32_t> tokens(static_cast<size_t>(n_rows));
  model.forward().profile().times = {};
  const uint64_t start = now_ns();
  for (int i = 0; i < n_steps; ++i) {
    for (size_t j = 0; j < tokens.size(); ++j)
      tokens[j] = static_cast<int32_t>((j * 37 + static_cast<size_t>(i)) % 256);
    model.forward().step(tokens, sequence, n_rows - 1);
    model.forward().logits(n_rows - 1, 1);
  }
  return static_cast<double>(now_ns() - start) * 1e-6 / static_cast<double>(n_steps * n_rows);
}

void run(const std::string& path, const std::vector<int64_t>& positions) {
  LoadOptions options;
  options.kernels = best_kernels().name;
  options.exact = false;
  options.n_threads = usable_cpus();
  options.max_rows = kPrefillTokens;
  options.allotment_bytes = 64ULL << 30;
  LoadedModel model(path, options);
  model.forward().profile().on = true;
  const int64_t longest = *std::max_element(positions.begin(), positions.end()) + kPrefillTokens;
  const std::pair<const char*, KvFormat> formats[] = {{"f16", KvFormat::f16}, {"q8", KvFormat::q8}};
  for (const auto& [name, format] : formats) {
    Sequence sequence(model.config(), format, longest, model.budget());
    fill(sequence.kv(), model.config(), longest);
    measure(model, sequence, 64, 2, 1);
    for (const int64_t position : positions) {
      const double decode = measure(model, sequence, position, kDecodeTokens, 1);
      const double decode_share = mix_share(model.forward().profile());
      const double prefill = measure(model, sequence, position / kDeltaChunk * kDeltaChunk, 1, kPrefillTokens);
      fmt::print(
          "{:>4} cache, position {:>6}: decode {:6.1f} ms, {:5.1f} tok/s, {:4.1f} % attention layers' mixers; prefill "
          "{:6.2f} ms a token, {:6.1f} tok/s, {:4.1f} %\n",
          name, position, decode, 1e3 / decode, decode_share, prefill, 1e3 / prefill,
          mix_share(model.forward().profile()));
    }
  }
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: bench_decode MODEL [POSITION...]\n");
    return EXIT_FAILURE;
  }
  std::vector<int64_t> positions;
  for (int i = 2; i < argc; ++i) positions.push_back(std::atoll(argv[i]));
  if (positions.empty()) positions = {64, 8192, 32768};
  try {
    flashmoe::run(argv[1], positions);
  } catch (const flashmoe::Error& error) {
    fmt::print(stderr, "bench_decode: {}\n", error.what());
    return EXIT_FAILURE;
  }
}
