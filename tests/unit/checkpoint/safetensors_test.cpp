#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "support/small_files.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

TEST(Safetensors, ReadsOneFile) {
  const TempDir folder;
  folder.write("config.json", R"({"model_type": "test"})");
  folder.write("tokenizer.json", "{}");
  const std::string weights = folder.write("model.safetensors", small_safetensors().bytes());
  for (const std::string& path : {folder.path(), folder.path() + "/", weights}) {
    const auto model = Checkpoint::open(path);
    EXPECT_EQ(model->path(), path);
    EXPECT_EQ(model->dialect(), Dialect::hugging_face);
    EXPECT_EQ(model->container(), "safetensors");
    EXPECT_TRUE(model->metadata().empty());
    EXPECT_EQ(model->config()["model_type"], "test");
    EXPECT_EQ(model->side_file("tokenizer.json"), "{}");
    EXPECT_FALSE(model->side_file("chat_template.jinja"));
    ASSERT_EQ(model->tensors().size(), 2u);
    const TensorInfo& a = *model->find("a");
    EXPECT_EQ(a.format, Format::f32);
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(a.bytes, 24u);
    const TensorInfo& b = *model->find("b");
    EXPECT_EQ(b.format, Format::bf16);
    std::string data(8, '\0');
    model->files()[b.file]->read(b.offset, std::as_writable_bytes(std::span(data)));
    EXPECT_EQ(data, std::string(8, '\2'));
    ASSERT_EQ(model->unsupported_tensors().size(), 1u);
    EXPECT_EQ(model->unsupported_tensors()[0].name, "c");
    EXPECT_EQ(model->unsupported_tensors()[0].format, "F8_E4M3");
    EXPECT_EQ(model->unsupported_tensors()[0].bytes, 4u);
  }
}

TEST(Safetensors, OtherDtypesAreNotFatal) {
  const TempDir folder;
  folder.write("config.json", "{}");
  SafetensorsWriter writer;
  writer.add_tensor("i64", "I64", {2}, std::string(16, '\0'));
  writer.add_tensor("u8", "U8", {3}, std::string(3, '\0'));
  writer.add_tensor("future", "F3_E1M1", {8}, std::string(3, '\0'));
  writer.add_tensor("scalar", "F32", {}, std::string(4, '\0'));
  folder.write("model.safetensors", writer.bytes());
  const auto model = Checkpoint::open(folder.path());
  ASSERT_EQ(model->unsupported_tensors().size(), 3u);
  EXPECT_EQ(model->unsupported_tensors()[0].format, "F3_E1M1");
  EXPECT_EQ(model->unsupported_tensors()[1].bytes, 16u);
  EXPECT_EQ(model->unsupported_tensors()[2].format, "U8");
  EXPECT_EQ(model->find("scalar")->n_values(), 1);
}

TEST(Safetensors, ReadsShardsThroughTheIndex) {
  const TempDir folder;
  TinyModelOptions options;
  options.layout = TinyLayout::hf_stacked;
  options.n_files = 3;
  write_tiny_model(folder.path(), options);
  folder.write("stray.safetensors", "not listed in the index, so never opened");
  const auto model = Checkpoint::open(folder.path());
  EXPECT_EQ(model->files().size(), 3u);
  EXPECT_EQ(model->find("model.embed_tokens.weight")->file, 0u);
  for (const char* name : {"model.safetensors.index.json", "model-00002-of-00003.safetensors"}) {
    EXPECT_EQ(Checkpoint::open(folder / name)->tensors().size(), model->tensors().size()) << name;
  }
}

TEST(Safetensors, ReadsShardsWithoutAnIndex) {
  const TempDir folder;
  TinyModelOptions options;
  options.layout = TinyLayout::hf_per_expert;
  options.n_files = 3;
  write_tiny_model(folder.path(), options);
  const size_t n_tensors = Checkpoint::open(folder.path())->tensors().size();
  ASSERT_EQ(std::remove((folder / "model.safetensors.index.json").c_str()), 0);
  EXPECT_EQ(Checkpoint::open(folder.path())->tensors().size(), n_tensors);
  EXPECT_EQ(Checkpoint::open(folder / "model-00003-of-00003.safetensors")->tensors().size(), n_tensors);
}

TEST(Safetensors, TheWholeModelIsPreferredToItsNeighbours) {
  const TempDir folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", small_safetensors().bytes());
  folder.write("adapter.safetensors", small_safetensors().bytes());  // the same names: would be refused together
  EXPECT_EQ(Checkpoint::open(folder.path())->files().size(), 1u);
}

TEST(Safetensors, AnyHeaderLengthWillDo) {
  // The file begins with this length, whose bytes may look like the magic of something else.
  const TempDir folder;
  folder.write("config.json", "{}");
  const std::string bytes = small_safetensors().bytes();
  const size_t n_data = 36;
  for (const size_t length : {size_t{640}, size_t{0x0380}, size_t{0x3c}, size_t{0x3c20}}) {
    std::string header = bytes.substr(8, bytes.size() - 8 - n_data);
    if (length < header.size()) header = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
    header.resize(length, ' ');
    folder.write("model.safetensors", SafetensorsWriter::with_header(header, std::string(n_data, '\0')));
    EXPECT_GT(Checkpoint::open(folder.path())->file_bytes(), length);
  }
}

TEST(Safetensors, SideFilesStayInTheirFolder) {
  const TempDir folder;
  folder.write("secret", "x");
  folder.write("model/config.json", "{}");
  folder.write("model/model.safetensors", small_safetensors().bytes());
  const auto model = Checkpoint::open(folder / "model");
  EXPECT_FALSE(model->side_file("../secret"));
  EXPECT_FALSE(model->side_file(folder / "secret"));
}

}  // namespace
}  // namespace flashmoe
