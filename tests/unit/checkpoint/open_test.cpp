// What Checkpoint::open makes of the paths that people give it.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "support/expect_error.h"
#include "support/shared_data.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

using Needles = std::initializer_list<std::string_view>;

TEST(Open, PathsThatLeadNowhere) {
  const TempDir folder;
  expect_error([&] { Checkpoint::open(folder / "absent"); }, Fault::io, {"absent", "no such file"});
  expect_error([&] { Checkpoint::open(""); }, Fault::io, {"no such file"});
  expect_error([&] { Checkpoint::open(folder / "line\nbreak"); }, Fault::io, {"no such file"});
}

TEST(Open, FilesThatAreNoModel) {
  const TempDir folder;
  const auto expect_file = [&](std::string_view bytes, Fault fault, Needles needles) {
    for (const char* name : {"m.gguf", "m.safetensors"}) {
      folder.write("config.json", "{}");
      const std::string path = folder.write(name, bytes);
      expect_error([&] { Checkpoint::open(path); }, fault, needles);
      expect_error([&] { Checkpoint::open(path); }, fault, {name});
    }
  };
  expect_file("", Fault::input, {"empty"});
  expect_file("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", Fault::input, {"git lfs pull"});
  expect_file("<!DOCTYPE html>\n<html></html>", Fault::input, {"web page"});
  expect_file("\n  <HTML><body>401</body>", Fault::input, {"web page"});
  expect_file("tjgg\1\0\0\0rest", Fault::unsupported, {"GGML", "fetch the model as GGUF"});
  expect_file("PK\3\4and so on", Fault::unsupported, {"PyTorch"});
  const std::string text = folder.write("notes.txt", "hello, this is text");
  expect_error([&] { Checkpoint::open(text); }, Fault::input, {"notes.txt", "neither a GGUF nor"});
}

TEST(Open, PointersAmongShards) {
  const TempDir folder;
  folder.write("config.json", "{}");
  folder.write("a.safetensors", small_safetensors().bytes());
  folder.write("b.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {"b.safetensors", "git lfs pull"});
}

TEST(Open, FoldersWithoutAModel) {
  const TempDir folder;
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {folder.path(), "no model in this folder"});
  folder.write("config.json", "{}");
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {"no model in this folder"});
  folder.write("pytorch_model.bin", "PK");
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::unsupported, {"PyTorch"});
}

TEST(Open, FoldersWithGguf) {
  const TempDir folder;
  folder.write("m.gguf", small_gguf().bytes());
  folder.write("mmproj-f16.gguf", "the image encoder of m.gguf");
  EXPECT_EQ(Checkpoint::open(folder.path())->container(), "GGUF v3");
  folder.write("n.gguf", small_gguf().bytes());
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {"several models", "'m.gguf', 'n.gguf'"});
}

TEST(Open, AnyNameWillDoForGguf) {
  const TempDir folder;
  EXPECT_EQ(Checkpoint::open(folder.write("blob", small_gguf().bytes()))->tensors().size(), 2u);
}

TEST(BuiltIn, SparkOpens) {
  const auto model = Checkpoint::open(FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf");
  EXPECT_EQ(model->container(), "GGUF v3");
  EXPECT_EQ(model->tensors().size(), 169u);
  EXPECT_EQ(std::get<std::string>(model->metadata().at("general.architecture")), "qwen35moe");
  EXPECT_EQ(std::get<std::vector<std::string>>(model->metadata().at("tokenizer.ggml.tokens")).size(), 4096u);
  const TensorInfo& down = *model->find("blk.0.ffn_down_exps.weight");
  EXPECT_EQ(down.shape, (std::vector<int64_t>{16, 256, 256}));
  EXPECT_EQ(down.format, Format::q6_k);
  EXPECT_EQ(down.offset, 3102240u);
  EXPECT_EQ(down.bytes, 860160u);
  EXPECT_TRUE(model->unsupported_tensors().empty());
}

TEST(SharedModels, AllOpen) {
  const auto goldens = shared_path("goldens");
  if (!goldens) GTEST_SKIP() << "no reference checkpoints; set FLASHMOE_SHARED to their folder";
  const auto n_tensors = [&](const char* name) { return Checkpoint::open(*goldens + "/" + name)->tensors().size(); };
  EXPECT_EQ(n_tensors("qwen3_5_moe"), 105u);
  EXPECT_EQ(n_tensors("qwen3_5_moe_256"), 160u);
  EXPECT_EQ(n_tensors("qwen3_5_moe_text"), 615u);
  EXPECT_EQ(n_tensors("qwen3_moe"), 231u);
  EXPECT_EQ(n_tensors("qwen3_next"), 250u);
  const auto mlx = Checkpoint::open(*goldens + "/qwen3_5_moe_mlx4");
  EXPECT_EQ(mlx->dialect(), Dialect::mlx);
  EXPECT_EQ(mlx->tensors().size(), 76u);  // 53 of them with scales and biases
  EXPECT_TRUE(mlx->unsupported_tensors().empty());
  EXPECT_EQ(mlx->find("language_model.model.layers.1.mlp.gate.weight")->format, Format::affine8);
  for (const auto& entry : std::filesystem::directory_iterator(*goldens + "/gguf")) {
    if (entry.path().extension() != ".gguf") continue;
    const auto model = Checkpoint::open(entry.path().string());
    EXPECT_EQ(model->tensors().size() + model->unsupported_tensors().size(), 38u) << entry.path();
    for (const UnsupportedTensor& tensor : model->unsupported_tensors()) EXPECT_GT(tensor.bytes, 0u) << tensor.name;
  }
}

TEST(SharedModels, SparkIsTheSameModelInBothContainers) {
  const auto folder = shared_path("spark/hf");
  if (!folder) GTEST_SKIP() << "no reference checkpoints; set FLASHMOE_SHARED to their folder";
  const auto model = Checkpoint::open(*folder);
  EXPECT_EQ(model->tensors().size(), 160u);
  EXPECT_EQ(model->config()["num_hidden_layers"], 8);
  EXPECT_GT(model->side_file("tokenizer.json").value().size(), 200'000u);
  const auto gguf = Checkpoint::open(FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf");
  EXPECT_EQ(model->find("mtp.fc.weight")->shape, gguf->find("blk.8.nextn.eh_proj.weight")->shape);
}

}  // namespace
}  // namespace flashmoe
