// Damaged and malicious safetensors folders.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/contents.h"
#include "checkpoint/safetensors.h"
#include "support/expect_error.h"
#include "support/small_files.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

using Needles = std::initializer_list<std::string_view>;

void expect_refused(const std::string& bytes, Needles needles) {
  const TempDir folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", bytes);
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, needles);
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {"model.safetensors"});
}

void expect_header_refused(const std::string& header, Needles needles) {
  expect_refused(SafetensorsWriter::with_header(header, std::string(64, '\0')), needles);
}

std::string tensor(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"({{"t":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
}

TEST(SafetensorsHostile, TruncatedAnywhere) {
  const std::string bytes = small_safetensors().bytes();
  for (size_t n_bytes = 0; n_bytes < bytes.size(); ++n_bytes) {
    const auto file = std::make_shared<MemoryFile>(bytes.substr(0, n_bytes));
    CheckpointContents contents;
    expect_error([&] { add_file(contents, file, read_safetensors_header(*file)); }, Fault::input, {"truncated"});
  }
  const TempDir folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", std::string_view(bytes).substr(0, bytes.size() - 5));
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {"5 bytes are missing", "'c'"});
}

TEST(SafetensorsHostile, HeaderLengths) {
  expect_refused(gguf_number<uint64_t>(1000) + "{}", {"the header", "truncated"});
  for (const uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 63, UINT64_MAX}) {
    expect_refused(gguf_number(length) + "{}", {std::to_string(length), "at most 100000000"});
  }
  expect_refused(gguf_number<uint64_t>(0), {"not valid JSON"});
}

TEST(SafetensorsHostile, NotJson) {
  expect_header_refused("{\"t\":", {"not valid JSON"});
  expect_header_refused("{\"\xff\":1}", {"not valid JSON"});
  expect_header_refused(tensor("F32", "[1]", "[0,4]") + "x", {"not valid JSON"});
}

TEST(SafetensorsHostile, JsonOfAnotherKind) {
  expect_header_refused("[]", {"an array"});
  expect_header_refused("3", {"a number"});
  expect_header_refused("\"t\"", {"a string"});
  expect_header_refused("null", {"a null"});
  expect_header_refused(R"({"t":3})", {"a number", "'t'"});
  expect_header_refused(R"({"t":[]})", {"an array", "'t'"});
  expect_header_refused(R"({"t":{}})", {"'t'", "lacks"});
  expect_header_refused(R"({"t":{"dtype":"F32","shape":[1]}})", {"'t'", "lacks"});
  expect_header_refused(R"({"t":{"dtype":4}})", {"a number", "'t'"});
  expect_header_refused(R"({"t":{"dtype":["F32"]}})", {"an array", "'t'"});
  expect_header_refused(R"({"t":{"dtype":"F32","dtype":"F32"}})", {"second field 'dtype'"});
  expect_header_refused(R"({"t":{"shape":{"a":1}}})", {"an object", "'t'"});
  expect_header_refused(R"({"t":{"extra":1}})", {"'extra'", "'t'"});
  expect_header_refused(R"({"t":{"shape":"1"}})", {"a string", "'t'"});
  expect_header_refused(R"({"__metadata__":{"a":1}})", {"a number", "__metadata__"});
  expect_header_refused(R"({"__metadata__":{"a":{}}})", {"an object", "__metadata__"});
  expect_header_refused(R"({"__metadata__":{},"__metadata__":{}})", {"second '__metadata__'"});
}

TEST(SafetensorsHostile, DeepNesting) {
  const size_t depth = 1'000'000;
  expect_header_refused(std::string(depth, '['), {"an array"});
  expect_header_refused(R"({"t":{"shape":)" + std::string(depth, '['), {"an array", "'t'"});
  std::string objects;
  for (size_t i = 0; i < 100'000; ++i) objects += R"({"a":)";
  expect_header_refused(objects, {"the field 'a'"});
}

TEST(SafetensorsHostile, Shapes) {
  expect_header_refused(tensor("F32", "[0]", "[0,0]"), {"'t'", "dimension of 0"});
  expect_header_refused(tensor("F32", "[-1]", "[0,4]"), {"'t'", "negative"});
  expect_header_refused(tensor("F32", "[1.5]", "[0,4]"), {"'t'", "not whole"});
  expect_header_refused(tensor("F32", "[1e3]", "[0,4]"), {"'t'", "not whole"});
  expect_header_refused(tensor("F32", "[9223372036854775808]", "[0,4]"), {"'t'", "63 bits"});
  expect_header_refused(tensor("F32", "[99999999999999999999999]", "[0,4]"), {"'t'", "too large"});
  expect_header_refused(tensor("F32", "[4294967296,4294967296]", "[0,0]"), {"'t'", "64 bits"});
  expect_header_refused(tensor("F32", "[4611686018427387904]", "[0,0]"), {"'t'", "64 bits"});
  expect_header_refused(tensor("F9", "[4294967296,4294967296]", "[0,0]"), {"'t'", "64 bits"});
  expect_header_refused(tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), {"'t'", "ninth dimension"});
}

TEST(SafetensorsHostile, Offsets) {
  expect_header_refused(tensor("F32", "[2]", "[0,4]"), {"'t'", "takes 8 bytes", "gives it 4"});
  expect_header_refused(tensor("I64", "[2]", "[0,8]"), {"'t'", "takes 16 bytes", "gives it 8"});
  expect_header_refused(tensor("F32", "[1]", "[4,0]"), {"'t'", "before it begins"});
  expect_header_refused(tensor("F32", "[1]", "[4]"), {"'t'", "two numbers"});
  expect_header_refused(tensor("F32", "[1]", "[0,4,8]"), {"'t'", "third offset"});
  expect_header_refused(tensor("F32", "[1]", "[64,68]"), {"'t'", "4 bytes are missing"});
  expect_header_refused(tensor("F32", "[1]", "[9223372036854775803,9223372036854775807]"), {"'t'"});
  expect_header_refused(tensor("F9", "[1]", "[0,9223372036854775807]"), {"'t'", "missing"});
}

TEST(SafetensorsHostile, Duplicates) {
  const std::string t = R"("t":{"dtype":"F32","shape":[1],"data_offsets":[)";
  expect_header_refused("{" + t + "0,4]}," + t + "4,8]}}", {"'t'", "twice"});
}

TEST(SafetensorsHostile, Overlap) {
  const std::string rest = R"(":{"dtype":"F32","shape":[2],"data_offsets":[)";
  expect_header_refused("{\"first" + rest + "0,8]},\"second" + rest + "4,12]}}", {"'first'", "'second'", "overlap"});
}

TEST(SafetensorsHostile, TheSameTensorInTwoShards) {
  const TempDir folder;
  folder.write("config.json", "{}");
  folder.write("a.safetensors", small_safetensors().bytes());
  folder.write("b.safetensors", small_safetensors().bytes());
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input,
               {"b.safetensors", "'a'", "twice", "first in", "a.safetensors"});
}

TEST(SafetensorsHostile, MissingShardsAreNamed) {
  const TempDir folder;
  TinyModelOptions options;
  options.layout = TinyLayout::hf_stacked;
  options.n_files = 3;
  write_tiny_model(folder.path(), options);
  ASSERT_EQ(std::remove((folder / "model-00002-of-00003.safetensors").c_str()), 0);
  const Needles needles = {folder.path(), "1 of 3", "'model-00002-of-00003.safetensors'"};
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, needles);
  ASSERT_EQ(std::remove((folder / "model.safetensors.index.json").c_str()), 0);
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, needles);
}

class Index : public ::testing::Test {
 protected:
  Index() {
    folder_.write("model/config.json", "{}");
    folder_.write("model/w.safetensors", small_safetensors().bytes());
    folder_.write("w.safetensors", small_safetensors().bytes());
  }
  void expect_refused(std::string_view index, Needles needles) {
    folder_.write("model/model.safetensors.index.json", index);
    expect_error([&] { Checkpoint::open(folder_ / "model"); }, Fault::input, needles);
  }
  TempDir folder_;
};

TEST_F(Index, MustStayInTheFolder) {
  expect_refused(R"({"weight_map":{"a":"../w.safetensors"}})",
                 {"index.json", "'../w.safetensors'", "inside the folder"});
  expect_refused(R"({"weight_map":{"a":"x/../../w.safetensors"}})", {"inside the folder"});
  expect_refused(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", folder_ / "w.safetensors"), {"inside the folder"});
  expect_refused(R"({"weight_map":{"a":"w.safetensors\u0000.safetensors"}})", {"inside the folder"});
  expect_refused(R"({"weight_map":{"a":"config.json"}})", {"'config.json'"});
}

TEST_F(Index, MustMatchTheShards) {
  expect_refused(R"({"weight_map":{"a":"w.safetensors","x":"w.safetensors"}})", {"'x'", "'w.safetensors'"});
  expect_refused(R"({"weight_map":{"a":"w.safetensors","a":"w.safetensors"}})", {"'a'", "twice"});
  folder_.write("model/v.safetensors", SafetensorsWriter::with_header("{}", ""));
  expect_refused(R"({"weight_map":{"a":"v.safetensors","b":"w.safetensors"}})", {"'a'", "'v.safetensors'"});
}

TEST_F(Index, MustHaveAMap) {
  expect_refused("{}", {"index.json", "weight_map"});
  expect_refused(R"({"weight_map":{}})", {"weight_map"});
  expect_refused(R"({"weight_map":{"a":1}})", {"weight_map", "a number"});
  expect_refused(R"({"weight_map":{"a":["w.safetensors"]}})", {"weight_map"});
  expect_refused(R"({"weight_map":["w.safetensors"]})", {"weight_map"});
  expect_refused("[1]", {"weight_map"});
  expect_refused("{\"weight_map\":", {"not valid JSON"});
  expect_refused("{\"metadata\":" + std::string(100'000, '['), {"nested"});
  expect_refused("version https://git-lfs.github.com/spec/v1\n", {"git lfs pull"});
}

TEST(SafetensorsHostile, Config) {
  const TempDir folder;
  folder.write("model.safetensors", small_safetensors().bytes());
  const auto expect_config = [&](std::string_view config, Needles needles) {
    folder.write("config.json", config);
    expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, needles);
  };
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {folder.path(), "no config.json"});
  expect_error([&] { Checkpoint::open(folder / "model.safetensors"); }, Fault::input, {"no config.json"});
  expect_config("{", {"config.json", "JSON object"});
  expect_config("[]", {"config.json", "JSON object"});
  expect_config("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", {"JSON object"});
  expect_config("", {"config.json", "empty"});
  expect_config(std::string(5'000'000, ' '), {"config.json", "5.00 MB"});
}

TEST(SafetensorsHostile, NoTensors) {
  const TempDir folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", SafetensorsWriter().bytes());
  expect_error([&] { Checkpoint::open(folder.path()); }, Fault::input, {folder.path(), "no tensors"});
}

}  // namespace
}  // namespace flashmoe
