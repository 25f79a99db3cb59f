// Thousands of folders whose config.json, shapes, types and names of scales are off: what opens is wholly there.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/contents.h"
#include "checkpoint/quantisation.h"
#include "checkpoint/safetensors.h"
#include "flashmoe/error.h"
#include "support/mutation.h"
#include "support/random.h"
#include "support/small_files.h"

namespace flashmoe {
namespace {

const int kFolders = fuzz_count(20'000);

template <typename T, size_t kCount>
T one_of(Random& random, const T (&all)[kCount]) {
  return all[random.below(kCount)];
}
// Mostly what it should be.
template <typename T, size_t kCount>
T rarely(Random& random, T usual, const T (&all)[kCount]) {
  return random.below(6) == 0 ? one_of(random, all) : usual;
}

nlohmann::json odd_value(Random& random) {
  static const char* const kValues[] = {
      "0",          "-1",        "3",    "32",   "64", "128", "1e300", "18446744073709551615",
      "\"affine\"", "\"mxfp4\"", "null", "true", "{}", "[]",  "[128]", "[1, 65536]"};
  return nlohmann::json::parse(one_of(random, kValues));
}

nlohmann::json make_config(Random& random, bool mlx) {
  nlohmann::json settings = {{"quant_method", "fp8"}, {"weight_block_size", {2, 32}}};
  if (mlx) settings = {{"bits", 4}, {"group_size", 32}, {"mode", "affine"}};
  for (const char* name : {"bits", "group_size", "mode", "x", "weight_block_size", "fmt", "quant_method"}) {
    if (random.below(8) == 0) settings[name] = odd_value(random);
    if (random.below(40) == 0) settings.erase(name);
  }
  return {{mlx ? "quantization" : "quantization_config", settings}};
}

std::string make_file(Random& random, bool mlx) {
  SafetensorsWriter writer;
  const auto add = [&](const char* name, const char* dtype, std::vector<uint64_t> shape) {
    constexpr const char* kTypes[] = {"U32", "U8", "BF16", "F32", "F8_E4M3", "I64"};
    constexpr uint64_t kDims[] = {1, 2, 3, 4, 5, 8, 33};
    const std::string type = rarely(random, dtype, kTypes);
    for (uint64_t& dim : shape) dim = random.below(12) == 0 ? one_of(random, kDims) : dim;
    if (random.below(20) == 0) shape.erase(shape.begin());
    if (random.below(20) == 0) return;
    uint64_t bytes = type == "I64" ? 8 : type == "BF16" ? 2 : type == "U32" || type == "F32" ? 4 : 1;
    for (const uint64_t dim : shape) bytes *= dim;
    writer.add_tensor(name, type, shape, std::string(bytes, '\0'));
  };
  add("x.weight", mlx ? "U32" : "F8_E4M3", {2, 4, mlx ? 8u : 64u});
  add("x.scales", "BF16", {2, 4, 2});
  add("x.biases", "BF16", {2, 4, 2});
  add("x.weight_scale_inv", "F32", {2, 2, 2});
  return writer.bytes();
}

// Whether the weights were paired; aborts when more is promised than is there.
bool pairs(const nlohmann::json& config, const std::string& bytes) {
  auto file = std::make_shared<MemoryFile>(bytes);
  CheckpointContents contents;
  contents.dialect = Dialect::hugging_face;
  contents.config = nlohmann::json::parse(config.dump());  // numbers as a file has them
  try {
    add_file(contents, file, read_safetensors_header(*file));
    pair_scales(contents);
  } catch (const Error& error) {
    CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return false;
  }
  const auto model = make_checkpoint(std::move(contents));
  for (const auto& [name, tensor] : model->tensors()) {
    const int64_t cols = tensor.shape.empty() ? 1 : tensor.shape.back();
    CHECK(tensor.bytes == static_cast<uint64_t>(format_bytes(tensor.format, tensor.n_values())));
    if (n_scale_matrices(tensor.format) == 0) continue;
    const int64_t rows = tensor.shape[tensor.shape.size() - 2], n = tensor.n_values() / (rows * cols);
    const auto wanted = static_cast<uint64_t>(n * scale_matrix_bytes(tensor.grid, rows, cols));
    CHECK(tensor.scales.bytes == wanted && tensor.scales.offset + wanted <= file->size());
    const bool has_biases = n_scale_matrices(tensor.format) == 2;
    CHECK(tensor.biases.bytes == (has_biases ? wanted : 0) && tensor.biases.offset + wanted <= file->size());
    CHECK(tensor.grid.group_rows > 0 && tensor.grid.group_cols > 0 && tensor.grid.first_row == 0);
  }
  const TensorInfo* x = model->find("x.weight");
  return x != nullptr && n_scale_matrices(x->format) > 0;
}

TEST(QuantisedFolderMutation, WhatIsPairedIsThere) {
  for (const bool mlx : {true, false}) {
    Random random(mlx ? 21 : 22);
    int n_paired = 0;
    for (int i = 0; i < kFolders; ++i) {
      const nlohmann::json config = make_config(random, mlx);
      n_paired += pairs(config, make_file(random, mlx)) ? 1 : 0;
    }
    EXPECT_GT(n_paired, kFolders / 50);
    EXPECT_LT(n_paired, kFolders / 2);
  }
}

}  // namespace
}  // namespace flashmoe
