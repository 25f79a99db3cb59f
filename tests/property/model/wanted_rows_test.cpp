// Rows of a prompt that no logits are wanted after end before the last layer's experts. Nothing else may change by
// that.
#include <gtest/gtest.h>

#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

constexpr int64_t kPrompt = 100, kDecoded = 3;

using Logits = std::vector<float>;

// Counts rows that the last layer routes.
class LastLayerRows final : public Observer {
 public:
  LastLayerRows(const ModelConfig& config, bool all) : config_(config), all_(all) {}
  void routed(int layer, std::span<const int32_t> experts, std::span<const float>) override {
    if (layer + 1 == config_.n_layers) n_ += static_cast<int64_t>(experts.size()) / config_.n_experts_used;
  }
  void hidden(int index, std::span<const float> x) override {
    if (index == config_.n_layers) n_final_ += static_cast<int64_t>(x.size()) / config_.d_model;
  }
  bool wants_all_rows() const override { return all_; }
  int64_t n() const { return n_; }
  int64_t n_final() const { return n_final_; }

 private:
  const ModelConfig& config_;
  bool all_;
  int64_t n_ = 0, n_final_ = 0;
};

class WantedRowsProperty : public testing::TestWithParam<TinyModelOptions> {
 protected:
  WantedRowsProperty() : path_(write_tiny_model(dir_.path(), GetParam())) {
    for (int32_t i = 0; i < kPrompt + kDecoded; ++i) ids_.push_back((i * 97 + i * i * 31) % GetParam().vocab_size);
  }

  LoadOptions options(KvFormat kv) const {
    LoadOptions o;
    o.kernels = best_kernels().name;
    o.exact = false;
    o.kv = kv;
    o.n_threads = 2;
    o.streamed = true;
    o.read_ahead = ReadAheadChoice::on;
    return o;
  }
  std::span<const int32_t> ids(int64_t first, int64_t n) const {
    return std::span(ids_).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
  }

  // Steps over the prompt that end at `ends`, with logits wanted after its last `n_wanted` rows; these logits, and
  // those of some rows that are decoded then.
  Logits read(LoadedModel& model, std::span<const int64_t> ends, int64_t n_wanted) const {
    const auto sequence = model.new_sequence();
    Logits all;
    int64_t at = 0;
    for (const int64_t end : ends) {
      const int64_t n = end - at, first = std::clamp<int64_t>(kPrompt - n_wanted - at, 0, n);
      model.forward().step(ids(at, n), *sequence, first);
      for (int64_t row = first; row < n; ++row) append(model.forward().logits(row, 1), all);
      at = end;
    }
    for (int64_t i = 0; i < kDecoded; ++i) {
      model.forward().step(ids(kPrompt + i, 1), *sequence);
      append(model.forward().logits(0, 1), all);
    }
    return all;
  }
  Logits last_rows(const Logits& all, int64_t n) const { return {all.end() - n * GetParam().vocab_size, all.end()}; }

  static void append(std::span<const float> logits, Logits& to) { to.insert(to.end(), logits.begin(), logits.end()); }

  TempDir dir_;
  std::string path_;
  std::vector<int32_t> ids_;
};

constexpr int64_t kWhole[] = {kPrompt};
constexpr int64_t kChunks[] = {64, 97, kPrompt};

TEST_P(WantedRowsProperty, LogitsAreTheSameBits) {
  for (const KvFormat kv : {KvFormat::f16, KvFormat::q8}) {
    LoadedModel model(path_, options(kv));
    const Logits all = read(model, kWhole, kPrompt);
    for (const int64_t n_wanted : {0, 1, 3, 20, 50, 99}) {
      const Logits expected = last_rows(all, n_wanted + kDecoded);
      EXPECT_TRUE(same_bits(read(model, kWhole, n_wanted), expected)) << n_wanted;
      EXPECT_TRUE(same_bits(read(model, kChunks, n_wanted), expected)) << n_wanted << ", in chunks";
    }
  }
}

TEST_P(WantedRowsProperty, OnlyTheyGoThroughTheLastLayer) {
  LoadedModel model(path_, options(KvFormat::f16));
  for (const int64_t n_wanted : {0, 1, 20}) {
    LastLayerRows some(model.config(), false), all(model.config(), true);
    model.forward().set_observer(&some);
    const Logits narrowed = read(model, kChunks, n_wanted);
    EXPECT_EQ(some.n(), n_wanted + kDecoded);
    EXPECT_EQ(some.n_final(), n_wanted + kDecoded);
    model.forward().set_observer(&all);
    EXPECT_TRUE(same_bits(read(model, kChunks, n_wanted), narrowed)) << "an observer changed it";
    EXPECT_EQ(all.n(), kPrompt + kDecoded);
    EXPECT_EQ(all.n_final(), kPrompt + kDecoded);
    model.forward().set_observer(nullptr);
  }
}

// Or a learned start would take the last layer's experts for seldom used ones.
TEST_P(WantedRowsProperty, RatesOfUseAreOfThoseThatPicked) {
  LoadedModel model(path_, options(KvFormat::f16));
  read(model, kChunks, 1);
  const UseRates use = model.experts().use_rates();
  EXPECT_EQ(use.n_tokens, kPrompt + kDecoded);
  EXPECT_EQ(use.n_of_layer.back(), 1 + kDecoded);
  const auto n_experts = static_cast<size_t>(GetParam().n_experts);
  for (size_t first = 0; first < use.rates.size(); first += n_experts) {
    float sum = 0;
    for (size_t e = 0; e < n_experts; ++e) sum += use.rates[first + e];
    EXPECT_NEAR(sum, GetParam().n_experts_used, 1e-4F) << first / n_experts;
  }
}

// Each run keeps its own last rows, in their order.
TEST_P(WantedRowsProperty, SequencesInOneBatchHaveTheirOwn) {
  LoadedModel model(path_, options(KvFormat::f16));
  const auto logits = [&](const auto& first_wanted, const auto& rows) {
    const auto a = model.new_sequence(), b = model.new_sequence(), c = model.new_sequence(), d = model.new_sequence();
    model.forward().step(ids(0, 10), *b);
    const std::vector<flashmoe::Run> runs = {{a.get(), 0, 40, 0, {}, first_wanted[0]},
                                             {b.get(), 40, 1, 10, {}, first_wanted[1]},
                                             {c.get(), 41, 20, 0, {}, first_wanted[2]},
                                             {d.get(), 61, 18, 0, {}, first_wanted[3]}};
    model.forward().step(Batch{ids(5, 79), runs});
    Logits all;
    for (const int64_t row : rows) append(model.forward().logits(row, 1), all);
    for (Sequence* sequence : {a.get(), b.get(), c.get(), d.get()}) {
      model.forward().step(ids(90, 2), *sequence);
      append(model.forward().logits(0, 2), all);
    }
    return all;
  };
  const std::vector<int64_t> rows = {40, 59, 60, 61, 70, 78};
  const auto all = logits(std::vector<int64_t>{0, 0, 0, 0}, rows);
  EXPECT_TRUE(same_bits(logits(std::vector<int64_t>{40, 0, 18, 0}, rows), all));
}

TEST_P(WantedRowsProperty, OthersHaveNoLogits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // the model has threads
  LoadedModel model(path_, options(KvFormat::f16));
  const auto sequence = model.new_sequence();
  model.forward().step(ids(0, 40), *sequence, 38);
  EXPECT_EQ(model.forward().logits(38, 2).size(), static_cast<size_t>(2 * GetParam().vocab_size));
  EXPECT_DEATH(model.forward().logits(37, 2), "rows");
  EXPECT_DEATH(model.forward().logits(39, 2), "rows");
}

TinyModelOptions model_of(TinyFamily family, int n_layers) {
  TinyModelOptions o;
  o.family = family;
  o.n_layers = n_layers;
  o.format = Format::q8_0;
  o.n_experts = 12;
  o.n_experts_used = 3;
  if (family == TinyFamily::qwen3_moe) o.d_rotary = o.d_head;
  return o;
}

// The last layer is one of attention, then one of the delta rule.
INSTANTIATE_TEST_SUITE_P(Models, WantedRowsProperty,
                         testing::Values(model_of(TinyFamily::qwen3_5_moe, 4), model_of(TinyFamily::qwen3_5_moe, 5),
                                         model_of(TinyFamily::qwen3_moe, 2), model_of(TinyFamily::qwen3_moe, 1)),
                         [](const auto& model) {
                           return (model.param.family == TinyFamily::qwen3_moe ? "attention_" : "hybrid_") +
                                  std::to_string(model.param.n_layers);
                         });

}  // namespace
}  // namespace flashmoe
