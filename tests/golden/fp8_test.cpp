// FP8 folders made of the reference checkpoints.
#include <gtest/gtest.h>

#include <iostream>
#include <string>

#include "support/golden.h"
#include "support/loaded_model.h"
#include "support/quantised_folder.h"
#include "support/shared_data.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

// The reference checkpoints come as plain numbers; FP8 halves them and hardly moves the answer.
TEST(Fp8Golden, StaysNearTheUnquantisedModel) {
  for (const char* name : {"qwen3_5_moe_256", "qwen3_5_moe_text"}) {
    const auto source = shared_path(std::string("goldens/") + name);
    if (!source) GTEST_SKIP() << "the full set of goldens is not beside the project";
    const TempDir quantised, plain;
    write_quantised(*source, {Format::fp8_e4m3, {ScaleType::f32, 128, 128, 0}}, quantised.path(), plain.path());
    const Golden golden = read_golden(*source + "/golden.safetensors");
    LoadOptions options;
    options.kernels = best_kernels().name;
    const std::vector<float> want = LoadedModel(plain.path(), options).logits(golden.input_ids, 64);
    const std::vector<float> got = LoadedModel(quantised.path(), options).logits(golden.input_ids, 64);
    EXPECT_LE(relative_error(got, want), 1e-5) << name;
    std::cout << name << " in FP8: " << relative_error(got, golden.logits) << " from the unquantised reference\n";
  }
}

}  // namespace
}  // namespace flashmoe
