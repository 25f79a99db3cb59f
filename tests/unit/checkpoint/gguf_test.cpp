#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "support/small_files.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

using Integers = std::vector<int64_t>;
using Reals = std::vector<double>;
using Strings = std::vector<std::string>;

TEST(Gguf, ReadsEveryTypeOfMetadata) {
  const TempDir folder;
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter writer = small_gguf();
    writer.version = version;
    const auto model = Checkpoint::open(folder.write("m.gguf", writer.bytes()));
    EXPECT_EQ(model->container(), version == 2 ? "GGUF v2" : "GGUF v3");
    const auto value = [&](const char* key) { return model->metadata().at(key); };
    EXPECT_EQ(value("u8"), MetaValue(uint64_t{200}));
    EXPECT_EQ(value("i8"), MetaValue(int64_t{-100}));
    EXPECT_EQ(value("u16"), MetaValue(uint64_t{60000}));
    EXPECT_EQ(value("i16"), MetaValue(int64_t{-30000}));
    EXPECT_EQ(value("u32"), MetaValue(uint64_t{4000000000u}));
    EXPECT_EQ(value("i32"), MetaValue(int64_t{-2000000000}));
    EXPECT_EQ(value("u64"), MetaValue(uint64_t{1} << 63));
    EXPECT_EQ(value("i64"), MetaValue(int64_t{INT64_MIN}));
    EXPECT_EQ(value("f32"), MetaValue(1.5));
    EXPECT_EQ(value("f64"), MetaValue(2.25));
    EXPECT_EQ(value("bool"), MetaValue(true));
    EXPECT_EQ(value("string"), MetaValue(std::string("h\xc3\xa9")));
    EXPECT_EQ(value("u8s"), MetaValue(Integers{1, 255}));
    EXPECT_EQ(value("i8s"), MetaValue(Integers{-1}));
    EXPECT_EQ(value("u16s"), MetaValue(Integers{65535}));
    EXPECT_EQ(value("i16s"), MetaValue(Integers{-2}));
    EXPECT_EQ(value("u32s"), MetaValue(Integers{4000000000}));
    EXPECT_EQ(value("i32s"), MetaValue(Integers{1, -2, 3}));
    EXPECT_EQ(value("u64s"), MetaValue(Integers{7}));
    EXPECT_EQ(value("i64s"), MetaValue(Integers{-8}));
    EXPECT_EQ(value("f32s"), MetaValue(Reals{0.5, -0.5}));
    EXPECT_EQ(value("f64s"), MetaValue(Reals{0.125}));
    EXPECT_EQ(value("bools"), MetaValue(Integers{1, 0, 1}));
    EXPECT_EQ(value("strings"), MetaValue(Strings{"", "x", "a string longer than fifteen bytes"}));
    EXPECT_EQ(value("no strings"), MetaValue(Strings{}));
    EXPECT_EQ(model->metadata().size(), 27u);
  }
}

TEST(Gguf, FindsTensors) {
  const TempDir folder;
  const std::string path = folder.write("m.gguf", small_gguf().bytes());
  const auto model = Checkpoint::open(path);
  EXPECT_EQ(model->dialect(), Dialect::gguf);
  EXPECT_EQ(model->path(), path);
  EXPECT_TRUE(model->config().is_null());
  EXPECT_FALSE(model->side_file("config.json"));
  EXPECT_EQ(model->file_bytes(), std::filesystem::file_size(path));
  ASSERT_EQ(model->tensors().size(), 2u);
  const TensorInfo* a = model->find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(a->n_values(), 6);
  EXPECT_EQ(a->format, Format::f32);
  const TensorInfo* b = model->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->format, Format::q8_0);
  EXPECT_EQ(b->bytes, 4u * 2 * 34);
  EXPECT_EQ(b->offset % 32, 0u);
  std::string data(b->bytes, '\0');
  model->files()[b->file]->read(b->offset, std::as_writable_bytes(std::span(data)));
  EXPECT_EQ(data, std::string(b->bytes, '\2'));
  EXPECT_EQ(model->find("c"), nullptr);
  EXPECT_EQ(model->find("absent"), nullptr);
}

TEST(Gguf, KeepsTensorsOfOtherFormatsApart) {
  const TempDir folder;
  GgufWriter writer = small_gguf();
  writer.add_tensor("d", {32}, 99, std::string(32, '\0'));
  const auto model = Checkpoint::open(folder.write("m.gguf", writer.bytes()));
  ASSERT_EQ(model->unsupported_tensors().size(), 2u);
  EXPECT_EQ(model->unsupported_tensors()[0].name, "c");
  EXPECT_EQ(model->unsupported_tensors()[0].format, "TQ1_0");
  EXPECT_EQ(model->unsupported_tensors()[0].bytes, 54u);
  EXPECT_EQ(model->unsupported_tensors()[1].name, "d");
  EXPECT_NE(model->unsupported_tensors()[1].format, "");
  EXPECT_EQ(model->unsupported_tensors()[1].bytes, 0u);
}

TEST(Gguf, HonoursTheAlignment) {
  const TempDir folder;
  for (const uint32_t alignment : {1u, 8u, 4096u}) {
    GgufWriter writer;
    writer.alignment = alignment;
    writer.add_u32("general.alignment", alignment);
    writer.add_tensor("a", {3}, 0, std::string(12, 'a'));
    writer.add_tensor("b", {1}, 0, std::string(4, 'b'));
    const auto model = Checkpoint::open(folder.write("m.gguf", writer.bytes()));
    const TensorInfo& b = *model->find("b");
    EXPECT_EQ(b.offset % alignment, 0u);
    std::string data(4, '\0');
    model->files()[0]->read(b.offset, std::as_writable_bytes(std::span(data)));
    EXPECT_EQ(data, "bbbb");
  }
}

TEST(Gguf, AnyPartOpensASplit) {
  const TempDir folder;
  TinyModelOptions options;
  options.n_files = 3;
  const std::string first = write_tiny_model(folder.path(), options);
  EXPECT_EQ(first, folder / "model-00001-of-00003.gguf");
  const auto model = Checkpoint::open(first);
  ASSERT_EQ(model->files().size(), 3u);
  EXPECT_EQ(model->find("token_embd.weight")->file, 0u);
  EXPECT_EQ(model->find("blk.3.ffn_down_shexp.weight")->file, 2u);
  for (const std::string& path :
       {folder / "model-00002-of-00003.gguf", folder / "model-00003-of-00003.gguf", folder.path()}) {
    const auto other = Checkpoint::open(path);
    EXPECT_EQ(other->tensors().size(), model->tensors().size());
    EXPECT_EQ(other->metadata(), model->metadata());
    EXPECT_EQ(other->file_bytes(), model->file_bytes());
  }
}

TEST(Gguf, AFirstPartMayHoldMetadataOnly) {
  const TempDir folder;
  for (int part = 0; part < 2; ++part) {
    GgufWriter writer;
    writer.add_u16("split.no", static_cast<uint16_t>(part));
    writer.add_u16("split.count", 2);
    writer.add_i32("split.tensors.count", 1);
    if (part == 0) writer.add_string("general.name", "two parts");
    if (part == 1) writer.add_tensor("a", {1}, 0, "1234");
    writer.write(folder / (part == 0 ? "m-00001-of-00002.gguf" : "m-00002-of-00002.gguf"));
  }
  const auto model = Checkpoint::open(folder / "m-00002-of-00002.gguf");
  EXPECT_EQ(std::get<std::string>(model->metadata().at("general.name")), "two parts");
  EXPECT_EQ(model->find("a")->file, 1u);
}

TEST(Gguf, LargeVocabularyLoadsFastAndSmall) {
  const TempDir folder;
  GgufWriter writer;
  std::vector<std::string> tokens, merges;
  for (int i = 0; i < 248'320; ++i) {
    tokens.push_back("token-" + std::to_string(i));
    merges.push_back("tok en-" + std::to_string(i));
  }
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_strings("tokenizer.ggml.merges", merges);
  writer.add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>(tokens.size(), 1));
  writer.add_tensor("a", {1}, 0, "1234");
  const auto model = Checkpoint::open(folder.write("m.gguf", writer.bytes()));
  EXPECT_EQ(std::get<Strings>(model->metadata().at("tokenizer.ggml.tokens")), tokens);
  EXPECT_EQ(std::get<Strings>(model->metadata().at("tokenizer.ggml.merges")), merges);
}

TEST(Gguf, AStringLargerThanTheReadersWindow) {
  const TempDir folder;
  GgufWriter writer = small_gguf();
  std::string text(1'000'000, 'x');
  text.back() = 'y';
  writer.add_string("long", text);
  writer.add_u32("after", 5);
  const auto model = Checkpoint::open(folder.write("m.gguf", writer.bytes()));
  EXPECT_EQ(std::get<std::string>(model->metadata().at("long")), text);
  EXPECT_EQ(model->metadata().at("after"), MetaValue(uint64_t{5}));
}

}  // namespace
}  // namespace flashmoe
