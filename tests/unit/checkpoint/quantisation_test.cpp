// Folders whose config.json says how their weights are quantised, whole and damaged.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "support/expect_error.h"
#include "support/safetensors_writer.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

struct Entry {
  std::string name, dtype;
  std::vector<uint64_t> shape;
};

std::unique_ptr<Checkpoint> open_folder(const std::string& config, const std::vector<Entry>& entries) {
  const TempDir folder;
  folder.write("config.json", config);
  SafetensorsWriter writer;
  for (const Entry& entry : entries) {
    uint64_t bytes = entry.dtype == "U32" || entry.dtype == "F32" ? 4 : entry.dtype == "BF16" ? 2 : 1;
    for (const uint64_t dim : entry.shape) bytes *= dim;
    writer.add_tensor(entry.name, entry.dtype, entry.shape, std::string(bytes, '\1'));
  }
  folder.write("model.safetensors", writer.bytes());
  return Checkpoint::open(folder.path());
}

// Why the one tensor that did not become readable did not.
std::string reason(const std::string& config, const std::vector<Entry>& entries) {
  const auto model = open_folder(config, entries);
  for (const UnsupportedTensor& tensor : model->unsupported_tensors()) {
    if (!tensor.reason.empty()) return tensor.name + ": " + tensor.reason;
  }
  return "";
}

const char* const kMlx = R"({"quantization": {"group_size": 64, "bits": 4}})";
const std::vector<Entry> kPacked = {
    {"x.weight", "U32", {3, 16}}, {"x.scales", "BF16", {3, 2}}, {"x.biases", "BF16", {3, 2}}};

std::vector<Entry> with(std::vector<Entry> entries, size_t at, const Entry& entry) {
  entries[at] = entry;
  return entries;
}
std::vector<Entry> without(std::vector<Entry> entries, size_t at) {
  entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(at));
  return entries;
}

TEST(MlxFolder, WeightsComeWithTheirScales) {
  const auto model = open_folder(kMlx, kPacked);
  ASSERT_EQ(model->tensors().size(), 1u);
  EXPECT_TRUE(model->unsupported_tensors().empty());
  const TensorInfo& x = *model->find("x.weight");
  EXPECT_EQ(x.format, Format::affine4);
  EXPECT_EQ(x.shape, (std::vector<int64_t>{3, 128}));
  EXPECT_EQ(x.bytes, 3u * 64);
  EXPECT_EQ(x.scales.bytes, 12u);
  EXPECT_EQ(x.biases.offset, x.scales.offset + 12);
  EXPECT_EQ(x.grid.group_cols, 64);
  EXPECT_EQ(x.grid.type, ScaleType::bf16);
  EXPECT_EQ(x.format_name(), "MLX 4-bit g64");
  EXPECT_EQ(x.all_bytes(), 3u * 64 + 24);
}

TEST(MlxFolder, NamesOfExpertsTellTheDialect) {
  EXPECT_EQ(open_folder(kMlx, kPacked)->dialect(), Dialect::hugging_face);
  const auto model = open_folder("{}", {{"model.layers.0.mlp.switch_mlp.up_proj.weight", "BF16", {2, 2, 2}}});
  EXPECT_EQ(model->dialect(), Dialect::mlx);
}

TEST(MlxFolder, EveryWidthHasItsFormat) {
  for (const uint64_t bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
    const std::string config = fmt::format(R"({{"quantization": {{"group_size": 32, "bits": {}}}}})", bits);
    const auto model = open_folder(
        config,
        {{"x.weight", "U32", {2, 4, bits * 3}}, {"x.scales", "F32", {2, 4, 3}}, {"x.biases", "F32", {2, 4, 3}}});
    ASSERT_NE(model->find("x.weight"), nullptr) << bits;
    EXPECT_EQ(model->find("x.weight")->shape, (std::vector<int64_t>{2, 4, 96}));
    EXPECT_EQ(model->find("x.weight")->format_name(), fmt::format("MLX {}-bit g32", bits));
  }
}

TEST(MlxFolder, OverridesCountForTheirTensorOnly) {
  const char* config = R"({"quantization": {"group_size": 64, "bits": 4, "mode": "affine",
      "y": {"group_size": 32, "bits": 8}, "z": false, "e": {"mode": "mxfp4", "bits": 4, "group_size": 32}}})";
  std::vector<Entry> entries = kPacked;
  for (const Entry& entry : std::vector<Entry>{{"y.weight", "U32", {3, 16}},
                                               {"y.scales", "BF16", {3, 2}},
                                               {"y.biases", "BF16", {3, 2}},
                                               {"z.weight", "BF16", {3, 16}},
                                               {"e.weight", "U32", {3, 8}},
                                               {"e.scales", "U8", {3, 2}}}) {
    entries.push_back(entry);
  }
  const auto model = open_folder(config, entries);
  EXPECT_EQ(model->find("x.weight")->format_name(), "MLX 4-bit g64");
  EXPECT_EQ(model->find("y.weight")->format_name(), "MLX 8-bit g32");
  EXPECT_EQ(model->find("z.weight")->format_name(), "BF16");
  EXPECT_EQ(model->find("e.weight")->format_name(), "MLX MXFP4");
  EXPECT_EQ(model->find("e.weight")->scales.bytes, 6u);
  EXPECT_TRUE(model->unsupported_tensors().empty());
}

TEST(MlxFolder, OverridesTakeNothingFromTheGlobalSetting) {
  // mlx-lm writes those of Qwen3's routers without a mode.
  const char* config = R"({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4",
      "gate": {"group_size": 64, "bits": 8}, "y": {"bits": 8}, "z": {}, "e": {"mode": "mxfp4"}}})";
  const std::vector<Entry> entries = {
      {"x.weight", "U32", {3, 16}},    {"x.scales", "U8", {3, 4}},      {"gate.weight", "U32", {3, 32}},
      {"gate.scales", "BF16", {3, 2}}, {"gate.biases", "BF16", {3, 2}}, {"y.weight", "U32", {3, 32}},
      {"y.scales", "BF16", {3, 2}},    {"y.biases", "BF16", {3, 2}},    {"z.weight", "U32", {3, 16}},
      {"z.scales", "BF16", {3, 2}},    {"z.biases", "BF16", {3, 2}},    {"e.weight", "U32", {3, 16}},
      {"e.scales", "U8", {3, 4}}};
  const auto model = open_folder(config, entries);
  for (const auto& [name, format] :
       {std::pair("x", "MLX MXFP4"), std::pair("gate", "MLX 8-bit g64"), std::pair("y", "MLX 8-bit g64"),
        std::pair("z", "MLX 4-bit g64"), std::pair("e", "MLX MXFP4")}) {
    const TensorInfo* found = model->find(std::string(name) + ".weight");
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->format_name(), format) << name;
  }
  EXPECT_TRUE(model->unsupported_tensors().empty());
}

TEST(MlxFolder, SaysWhatIsWrongWithATensor) {
  EXPECT_EQ(reason(kMlx, without(kPacked, 1)), "x.weight: its scales 'x.scales' are missing");
  EXPECT_EQ(reason(kMlx, without(kPacked, 2)), "x.weight: its biases 'x.biases' are missing");
  const auto expect = [](const std::string& text, const std::string& needle) {
    EXPECT_NE(text.find(needle), std::string::npos) << text;
  };
  expect(reason("{}", kPacked), "no quantization");
  expect(reason(kMlx, with(kPacked, 1, {"x.scales", "BF16", {3, 3}})),
         "its scales are [3, 3] of BF16, expected [3, 2]");
  expect(reason(kMlx, with(kPacked, 2, {"x.biases", "F32", {3, 2}})), "its biases are [3, 2] of F32");
  expect(reason(kMlx, with(kPacked, 2, {"x.biases", "BF16", {2, 3}})), "its biases are [2, 3]");
  expect(reason(kMlx, with(kPacked, 0, {"x.weight", "U32", {3, 15}})), "not whole groups");
  expect(reason(kMlx, with(kPacked, 0, {"x.weight", "U32", {48}})), "expected rows");
  expect(reason(kMlx, with(kPacked, 0, {"x.weight", "U32", {4, 16}})), "its scales are");
  const auto settings = [](const std::string& text) { return R"({"quantization": )" + text + "}"; };
  for (const char* odd :
       {R"({"group_size": 64, "bits": 7})", R"({"group_size": 48, "bits": 4})", R"({"group_size": 0, "bits": 4})",
        R"({"bits": 4})", R"({"group_size": 64, "bits": 18446744073709551615})", "{}",
        R"({"group_size": 16, "bits": 4, "mode": "nvfp4"})", R"({"group_size": 64, "bits": 4, "mode": "mxfp4"})"}) {
    expect(reason(settings(odd), kPacked), "this version reads affine");
  }
  expect(reason(settings(R"({"group_size": -64, "bits": 4})"), kPacked), "group_size is not a number");
  expect(reason(settings(R"({"group_size": 64, "bits": "4"})"), kPacked), "bits is not a number");
  expect(reason(settings(R"({"group_size": 64, "bits": 4, "mode": 4})"), kPacked), "mode is not a text");
  expect(reason(settings(R"({"group_size": 64, "bits": 4, "x": false})"), kPacked), "says it is not quantised");
  expect(reason(settings(R"({"group_size": 64, "bits": 4, "x": [8]})"), kPacked), "says it is not quantised");
  const char* mxfp4 = R"({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}})";
  expect(reason(mxfp4, {{"x.weight", "U32", {3, 8}}}), "its scales 'x.scales' are missing");
  expect(reason(mxfp4, {{"x.weight", "U32", {3, 8}}, {"x.scales", "U8", {3, 3}}}), "expected [3, 2] of U8");
  expect(reason(mxfp4, {{"x.weight", "U32", {3, 8}}, {"x.scales", "I8", {3, 2}}}), "expected [3, 2] of U8");
}

TEST(MlxFolder, NamesThatOccurTwiceAreRefused) {
  std::vector<Entry> entries = kPacked;
  entries.push_back(kPacked[0]);
  expect_error([&] { open_folder(kMlx, entries); }, Fault::input, {"'x.weight'", "twice"});
}

std::string fp8(const std::string& more) { return R"({"quantization_config": {"quant_method": "fp8")" + more + "}}"; }
const std::string kFp8 = fp8(R"(, "fmt": "e4m3", "weight_block_size": [128, 128])");

TEST(Fp8Folder, WeightsComeWithTheirScales) {
  const auto model = open_folder(kFp8, {{"x.weight", "F8_E4M3", {130, 256}},
                                        {"x.weight_scale_inv", "F32", {2, 2}},
                                        {"experts.up", "F8_E4M3", {2, 64, 129}},
                                        {"experts.up_scale_inv", "BF16", {2, 1, 2}},
                                        {"plain.weight", "BF16", {4, 4}}});
  EXPECT_TRUE(model->unsupported_tensors().empty());
  ASSERT_EQ(model->tensors().size(), 3u);
  EXPECT_EQ(model->find("x.weight")->format_name(), "FP8 e4m3 128x128");
  EXPECT_EQ(model->find("x.weight")->scales.bytes, 16u);
  EXPECT_EQ(model->find("experts.up")->grid.type, ScaleType::bf16);
  EXPECT_EQ(model->find("experts.up")->shape, (std::vector<int64_t>{2, 64, 129}));
  EXPECT_EQ(model->find("plain.weight")->format, Format::bf16);
}

TEST(Fp8Folder, SaysWhatIsWrongWithATensor) {
  EXPECT_EQ(reason(kFp8, {{"x", "F8_E4M3", {4, 4}}}), "x: its scales 'x_scale_inv' are missing");
  const auto expect = [](const std::string& text, const std::string& needle) {
    EXPECT_NE(text.find(needle), std::string::npos) << text;
  };
  expect(reason(kFp8, {{"x", "F8_E4M3", {256, 4}}, {"x_scale_inv", "F32", {1, 1}}}), "expected [2, 1] of floats");
  expect(reason(kFp8, {{"x", "F8_E4M3", {4, 4}}, {"x_scale_inv", "F32", {1}}}), "expected [1, 1] of floats");
  expect(reason(kFp8, {{"x", "F8_E4M3", {4}}, {"x_scale_inv", "F32", {1}}}), "expected a matrix");
}

TEST(Fp8Folder, RefusesSettingsItDoesNotKnow) {
  const std::vector<Entry> entries = {{"x", "F8_E4M3", {4, 4}}};
  const auto refused = [&](const std::string& config, Fault fault, std::initializer_list<std::string_view> needles) {
    expect_error([&] { open_folder(config, entries); }, fault, needles);
  };
  refused(fp8(""), Fault::unsupported, {"weight_block_size"});
  refused(fp8(R"(, "fmt": "e5m2", "weight_block_size": [128, 128])"), Fault::unsupported, {"e5m2"});
  for (const char* block : {"128", "[128]", "[0, 128]", "[128, -1]", "[128, 1e9]", "[\"1\", 1]", "[128, 65537]"}) {
    refused(fp8(fmt::format(R"(, "weight_block_size": {})", block)), Fault::input, {"weight_block_size"});
  }
}

TEST(QuantisedFolder, OtherMethodsAreRefusedByName) {
  for (const char* method : {"awq", "gptq", "bitsandbytes", "compressed-tensors", "mxfp4"}) {
    const std::string settings =
        fmt::format(R"({{"quantization_config": {{"quant_method": "{}", "bits": 4}}}})", method);
    expect_error([&] { open_folder(settings, kPacked); }, Fault::unsupported, {method, "quantization_config"});
    expect_error([&] { open_folder(R"({"text_config": )" + settings + "}", kPacked); }, Fault::unsupported, {method});
  }
}

}  // namespace
}  // namespace flashmoe
