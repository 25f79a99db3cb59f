// A model with scales kept apart answers as the model of the weights that it stands for, wherever its experts are.
#include "support/quantised_folder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <iostream>

#include "experts/streamed.h"
#include "support/golden.h"
#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

struct Case {
  const char* name;
  FolderQuantisation how;
  TinyLayout layout = TinyLayout::hf_stacked;
  TinyFamily family = TinyFamily::qwen3_5_moe;
};
void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

const Case kCases[] = {
    {"affine2", {Format::affine2, {ScaleType::bf16, 1, 32, 0}}},
    {"affine3", {Format::affine3, {ScaleType::f16, 1, 64, 0}}},
    {"affine4", {Format::affine4, {ScaleType::bf16, 1, 64, 0}}},
    {"affine4_plain_routers", {Format::affine4, {ScaleType::f32, 1, 32, 0}, Format::f32}},
    {"affine5", {Format::affine5, {ScaleType::f32, 1, 32, 0}}},
    {"affine6", {Format::affine6, {ScaleType::bf16, 1, 64, 0}}},
    {"affine8", {Format::affine8, {ScaleType::bf16, 1, 32, 0}}},
    {"mxfp4", {Format::mxfp4_split, {ScaleType::e8m0, 1, 32, 0}}},
    {"fp8_stacked", {Format::fp8_e4m3, {ScaleType::f32, 128, 128, 0}}},
    {"fp8_single", {Format::fp8_e4m3, {ScaleType::bf16, 128, 128, 0}}, TinyLayout::hf_per_expert},
    {"fp8_small_blocks", {Format::fp8_e4m3, {ScaleType::bf16, 24, 40, 0}}},
    {"packed_affine4",
     {Format::affine4, {ScaleType::bf16, 1, 32, 0}, Format::affine8, ""},
     TinyLayout::hf_stacked,
     TinyFamily::qwen3_next},
    {"packed_fp8", {Format::fp8_e4m3, {ScaleType::f32, 16, 32, 0}}, TinyLayout::hf_per_expert, TinyFamily::qwen3_next},
    {"ungated_affine6",
     {Format::affine6, {ScaleType::bf16, 1, 64, 0}, Format::affine8, "", false},
     TinyLayout::hf_stacked,
     TinyFamily::qwen3_moe},
    {"ungated_mxfp4",
     {Format::mxfp4_split, {ScaleType::e8m0, 1, 32, 0}, Format::affine8, "", false},
     TinyLayout::hf_stacked,
     TinyFamily::qwen3_moe},
};

class QuantisedFolder : public testing::TestWithParam<Case> {
 protected:
  QuantisedFolder() {
    TinyModelOptions tiny;
    tiny.layout = GetParam().layout;
    tiny.family = GetParam().family;
    if (tiny.family == TinyFamily::qwen3_moe) tiny.d_rotary = tiny.d_head;
    tiny.d_ff = tiny.d_ff_shared = 64;
    tiny.n_experts = 6;
    write_tiny_model(source_.path(), tiny);
    write_quantised(source_.path(), GetParam().how, quantised_.path(), plain_.path());
    for (int i = 0; i < 40; ++i) ids_.push_back(i * i % tiny.vocab_size);
  }
  std::vector<float> logits(const TempDir& folder, const LoadOptions& options) const {
    return LoadedModel(folder.path(), options).logits(ids_, 64);
  }

  TempDir source_, quantised_, plain_;
  std::vector<int32_t> ids_;
};

TEST_P(QuantisedFolder, IsTheModelOfTheWeightsItStandsFor) {
  const std::vector<float> plain = logits(plain_, {});
  EXPECT_EQ(logits(quantised_, {}), plain);  // the scalar table multiplies the same numbers
  for (const char* kernels : {"avx2", "avx512"}) {
    if (!kernels_by_name(kernels)) {
      std::cout << "this machine cannot run the kernels " << kernels << "\n";
      continue;
    }
    LoadOptions options;
    options.kernels = kernels;
    EXPECT_LE(relative_error(logits(quantised_, options), plain), 1e-5) << kernels;
  }
}

TEST_P(QuantisedFolder, StreamedEqualsResident) {
  LoadOptions options;
  options.kernels = best_kernels().name;
  options.exact = false;
  const std::vector<float> resident = logits(quantised_, options);
  options.streamed = true;
  for (const bool direct : {false, true}) {
    options.direct = direct;
    EXPECT_EQ(logits(quantised_, options), resident) << (direct ? "direct" : "buffered");
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantisedFolder, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace flashmoe
