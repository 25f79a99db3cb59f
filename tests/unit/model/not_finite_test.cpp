// A weight that is no number is told: by the loader where it would not show, else by logits that are none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/bound_model.h"
#include "support/expect_error.h"
#include "support/kernel_cases.h"
#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// A copy of the model in which bytes of a tensor, `at` from its beginning, are others.
std::string with_bytes(const TempDir& dir, const std::string& path, const std::string& tensor, size_t at,
                       std::string_view bytes) {
  const BoundModel model = bind_model(path);
  std::string all = read_bytes(path);
  all.replace(model.checkpoint->find(tensor)->offset + at, bytes.size(), bytes);
  return dir.write("broken.gguf", all);
}

std::string_view bytes_of(const float& value) { return {reinterpret_cast<const char*>(&value), sizeof(value)}; }

TEST(NotFinite, ARouterIsRefused) {
  const TempDir dir;
  const std::string path = write_tiny_model(dir.path(), {});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const std::string broken = with_bytes(dir, path, "blk.2.ffn_gate_inp.weight", 4 * (3 * 64 + 5), bytes_of(bad));
    expect_error([&] { LoadedModel(broken, LoadOptions()); }, Fault::input,
                 {"blk.2.ffn_gate_inp.weight", "not finite at index 197"});
  }
}

// The scale of one block of 256 weights: f16, at its beginning.
TEST(NotFinite, AQuantisedWeightReachesTheLogitsInEveryKernel) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.with_k_quant_dims().format = Format::q4_k;
  const std::string path = write_tiny_model(dir.path(), tiny);
  const std::string nan("\x00\x7e", 2);
  for (const std::string tensor : {"blk.0.attn_qkv.weight", "blk.3.attn_v.weight", "blk.1.ffn_up_shexp.weight"}) {
    const std::string broken = with_bytes(dir, path, tensor, 0, nan);
    for (const KernelTable* table : available_tables()) {
      LoadOptions options;
      options.kernels = table->name;
      options.exact = false;
      const std::vector<int32_t> ids(40, 7);
      for (const int64_t chunk : {1, 40}) {
        const std::vector<float> logits = LoadedModel(broken, options).logits(ids, chunk);
        EXPECT_TRUE(std::ranges::all_of(logits, [](float logit) { return std::isnan(logit); }))
            << tensor << ", " << table->name << ", steps of " << chunk;
      }
    }
  }
}

}  // namespace
}  // namespace flashmoe
