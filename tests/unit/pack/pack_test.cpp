// Whole small checkpoints packed in this process.
#include "flashmoe/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "checkpoint/checkpoint.h"
#include "support/expect_error.h"
#include "support/gguf_writer.h"
#include "support/quantised_folder.h"
#include "support/safetensors_writer.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

std::vector<float> values_of(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes));
  checkpoint.files()[tensor.file]->read(tensor.offset, bytes);
  std::vector<float> values(static_cast<size_t>(tensor.n_values()));
  format_info(tensor.format).decode({bytes.data()}, 0, tensor.n_values(), values.data());
  return values;
}

std::string as_text(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Writes `bytes` into a tensor, from its byte `at` on.
void overwrite(const std::string& checkpoint, const std::string& tensor, uint64_t at, const std::string& bytes) {
  const auto whole = Checkpoint::open(checkpoint);
  const TensorInfo& found = *whole->find(tensor);
  std::fstream file(whole->files()[found.file]->path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(found.offset + at));
  file << bytes;
}

// An importance file for tiny models: columns count `of(i)`.
template <typename Of>
SafetensorsWriter importance_file(const TinyModelOptions& tiny, Of of) {
  SafetensorsWriter writer;
  for (int layer = 0; layer < tiny.n_layers; ++layer) {
    for (const auto& [role, cols] : {std::pair("gate_up", tiny.d_model), std::pair("down", tiny.d_ff)}) {
      const auto n = static_cast<uint64_t>(tiny.n_experts), width = static_cast<uint64_t>(cols);
      std::vector<float> squares(n * width);
      for (size_t i = 0; i < squares.size(); ++i) squares[i] = of(i % width);
      const std::string name = "layers." + std::to_string(layer) + ".experts." + role;
      writer.add_tensor(name, "F32", {n, width}, as_text(squares));
      writer.add_tensor(name + ".counts", "F32", {n}, as_text(std::vector<float>(n, 1)));
    }
  }
  return writer;
}

class PackTest : public testing::Test {
 protected:
  PackTest() {
    tiny_.layout = TinyLayout::hf_stacked;
    tiny_.with_k_quant_dims();
    tiny_.n_layers = 4;
    tiny_.n_experts = 4;
  }
  std::string source() {
    fs::create_directories(folder_ / "source");
    return write_tiny_model(folder_ / "source", tiny_);
  }
  PackOptions options(const std::string& destination) {
    PackOptions options;
    options.source = source();
    options.destination = folder_ / destination;
    options.n_threads = 2;
    return options;
  }

  TempDir folder_;
  TinyModelOptions tiny_;
};

TEST_F(PackTest, AFoldersDraftHeadIsThatOfTheGguf) {
  for (const TinyLayout layout : {TinyLayout::hf_stacked, TinyLayout::hf_per_expert}) {
    tiny_.with_mtp = true;
    tiny_.layout = TinyLayout::gguf;
    fs::create_directories(folder_ / "gguf");
    const auto gguf = Checkpoint::open(write_tiny_model(folder_ / "gguf", tiny_));
    tiny_.layout = layout;
    const std::string name = layout == TinyLayout::hf_stacked ? "stacked" : "single";
    pack(options(name));
    const auto packed = Checkpoint::open(folder_ / name);
    int n = 0;
    for (const auto& [tensor_name, wanted] : gguf->tensors()) {
      if (!tensor_name.starts_with("blk.4.")) continue;
      const TensorInfo* found = packed->find(tensor_name);
      ASSERT_NE(found, nullptr) << tensor_name;
      EXPECT_EQ(found->shape, wanted.shape) << tensor_name;
      EXPECT_EQ(values_of(*packed, *found), values_of(*gguf, wanted)) << tensor_name;
      ++n;
    }
    EXPECT_EQ(n, 20);
    EXPECT_EQ(std::get<uint64_t>(packed->metadata().at("qwen35moe.nextn_predict_layers")), 1u);
    EXPECT_EQ(std::get<uint64_t>(packed->metadata().at("qwen35moe.block_count")), 5u);
    fs::remove_all(folder_ / "source");
  }
}

TEST_F(PackTest, AFoldersDraftHeadIsEightBitsWhereTheTrunkIsNotKept) {
  tiny_.with_mtp = true;
  PackOptions options = this->options("packed");
  options.trunk = "q4_k";
  pack(options);
  const auto packed = Checkpoint::open(options.destination);
  EXPECT_EQ(packed->find("blk.4.ffn_down_exps.weight")->format, Format::q8_0);
  EXPECT_EQ(packed->find("blk.4.nextn.eh_proj.weight")->format, Format::q8_0);
  EXPECT_EQ(packed->find("blk.4.ffn_gate_inp.weight")->format, Format::f32);
  EXPECT_EQ(packed->find("blk.3.attn_q.weight")->format, Format::q4_k);
}

TEST_F(PackTest, ADraftHeadHasAFormatOfItsOwn) {
  PackOptions options = this->options("none");
  options.draft_head = "q3_k";
  expect_error([&] { pack(options); }, Fault::usage, {"--draft-head", "has none"});
  for (const TinyLayout layout : {TinyLayout::hf_stacked, TinyLayout::gguf}) {
    fs::remove_all(folder_ / "source");
    tiny_.with_mtp = true;
    tiny_.layout = layout;
    options = this->options(layout == TinyLayout::gguf ? "gguf" : "folder");
    options.recipe = "4bit";
    options.draft_head = "q3_k";
    pack(options);
    const auto packed = Checkpoint::open(options.destination);
    EXPECT_EQ(packed->find("blk.4.ffn_down_exps.weight")->format, Format::q3_k);
    EXPECT_EQ(packed->find("blk.4.nextn.eh_proj.weight")->format, Format::q3_k);
    EXPECT_EQ(packed->find("blk.4.ffn_gate_inp.weight")->format, Format::f32);
    EXPECT_EQ(packed->find("blk.3.attn_q.weight")->format, Format::q5_k);
  }
}

TEST_F(PackTest, ImportantColumnsErrLess) {
  const auto eighth = [](size_t column) { return column % 8 == 0 ? 100.0F : 0.1F; };
  const std::string file = folder_.write("eighth.imatrix", importance_file(tiny_, eighth).bytes());
  double errors[2][2] = {};  // [with the file][of the other columns]
  const auto original = Checkpoint::open(source());
  const std::vector<float> want = values_of(*original, *original->find("model.layers.1.mlp.experts.down_proj"));
  for (const bool with : {false, true}) {
    PackOptions options = this->options(with ? "with" : "without");
    options.experts = "q2_k";
    options.imatrix = with ? file : "";
    pack(options);
    const auto packed = Checkpoint::open(options.destination);
    const TensorInfo& down = *packed->find("blk.1.ffn_down_exps.weight");
    const size_t cols = static_cast<size_t>(down.shape[2]);
    const auto matrix_bytes = down.bytes / static_cast<uint64_t>(down.shape[0]);
    std::vector<std::byte> bytes(static_cast<size_t>(matrix_bytes));
    packed->files()[down.file]->read(down.offset, bytes);  // of the first expert
    std::vector<float> got(static_cast<size_t>(down.shape[1]) * cols);
    format_info(down.format).decode({bytes.data()}, 0, static_cast<int64_t>(got.size()), got.data());
    for (size_t i = 0; i < got.size(); ++i) errors[with][i % cols % 8 == 0 ? 0 : 1] += std::pow(got[i] - want[i], 2);
  }
  EXPECT_LT(errors[true][0], 0.3 * errors[false][0]);
  EXPECT_GT(errors[true][1], errors[false][1]);
}

TEST_F(PackTest, MemoryIsThatOfTheLargestTensorThatCannotBeDivided) {
  tiny_.vocab_size = 8192;
  fs::create_directories(folder_ / "fp8");
  fs::create_directories(folder_ / "plain");
  PackOptions options = this->options("packed");
  write_quantised(options.source, {Format::fp8_e4m3, {ScaleType::f32, 128, 128, 0}}, folder_ / "fp8",
                  folder_ / "plain");
  options.source = folder_ / "fp8";
  options.trunk = "f32";
  options.ram_bytes = 16 * kMiB;
  const auto n_values = static_cast<uint64_t>(tiny_.vocab_size * tiny_.d_model);
  EXPECT_GE(plan_pack(options).memory_bytes, 3 * (n_values + 4 * n_values));
  expect_error([&] { pack(options); }, Fault::usage, {"--ram: packing this model needs"});
  options.source = folder_ / "plain";  // rows of floats can be
  EXPECT_LE(plan_pack(options).memory_bytes, options.ram_bytes);
}

TEST_F(PackTest, ImportanceIsPartOfTheWork) {
  const auto all = [](size_t) { return 1.0F; };
  PackOptions options = this->options("packed");
  options.experts = "q4_k";
  options.imatrix = folder_.write("a.imatrix", importance_file(tiny_, all).bytes());
  pack(options);
  fs::rename(folder_ / "packed/manifest.json", folder_ / "packed/manifest.unfinished.json");
  EXPECT_EQ(pack(options).n_layers_kept, 4);
  fs::rename(folder_ / "packed/manifest.json", folder_ / "packed/manifest.unfinished.json");
  options.imatrix.clear();
  expect_error([&] { pack(options); }, Fault::usage, {"other options"});
}

TEST_F(PackTest, WhatIsThereIsVerifiedWithItsOwnProgress) {
  PackOptions options = this->options("packed");
  const fs::path packed = options.destination;
  options.keep_going = [&] { return !fs::exists(packed / "experts-01.bank"); };
  expect_error([&] { pack(options); }, Fault::interrupted, {"the same command again"});
  const uint64_t there = fs::file_size(packed / "trunk.gguf");
  std::vector<Progress> seen;
  options.on_progress = [&](const Progress& step) { seen.push_back(step); };
  options.keep_going = [&] { return seen.size() < 2; };
  expect_error([&] { pack(options); }, Fault::interrupted, {"the same command again"});
  ASSERT_EQ(seen.size(), 2);
  EXPECT_STREQ(seen[1].what, "verifying");
  EXPECT_GT(seen[1].done, seen[0].done);
  EXPECT_GT(seen[1].total, there);
  options.keep_going = {};
  seen.clear();
  const PackReport report = pack(options);
  EXPECT_EQ(report.n_layers_kept, 2);
  const auto packing = std::find_if(seen.begin(), seen.end(), [](const Progress& step) { return step.what[0] == 'p'; });
  ASSERT_NE(packing, seen.end());
  for (auto step = seen.begin(); step != packing; ++step) EXPECT_STREQ(step->what, "verifying");
  EXPECT_LT(packing->total, seen.front().total + there);
  EXPECT_EQ(seen.back().done, seen.back().total);
}

TEST_F(PackTest, OddImportanceFilesAreRefusedByName) {
  PackOptions options = this->options("packed");
  options.experts = "q4_k";
  const auto refused = [&](const std::string& bytes, std::initializer_list<std::string_view> parts) {
    options.imatrix = folder_.write("odd.imatrix", bytes);
    fs::remove_all(options.destination);
    expect_error([&] { pack(options); }, Fault::input, parts);
  };
  const auto all = [](size_t) { return 1.0F; };
  refused("GGUF....", {"odd.imatrix"});
  refused(SafetensorsWriter().bytes(), {"odd.imatrix", "not an importance file"});
  TinyModelOptions other = tiny_;
  other.n_experts = 8;
  refused(importance_file(other, all).bytes(), {"layers.0.experts.gate_up", "another model"});
  other = tiny_;
  other.n_layers = 2;
  refused(importance_file(other, all).bytes(), {"layers.2.experts.gate_up", "another model"});
  refused(importance_file(tiny_, [](size_t i) { return i == 7 ? -1.0F : 1.0F; }).bytes(), {"negative or not finite"});
  refused(importance_file(tiny_, [](size_t) { return NAN; }).bytes(), {"negative or not finite"});
  options.imatrix = folder_ / "missing";
  expect_error([&] { pack(options); }, Fault::io, {"missing"});
}

TEST_F(PackTest, WeightsThatAreNotFiniteAreToldAsTheFileNamesThem) {
  const auto rows = static_cast<uint64_t>(tiny_.d_ff), cols = static_cast<uint64_t>(tiny_.d_model);
  const std::string experts = "model.layers.2.mlp.experts.gate_up_proj", lone = "model.layers.1.mlp.gate.weight";
  for (const std::string format : {"keep", "q8_0"}) {
    PackOptions options = this->options(format);
    options.experts = format;
    // Two values: the first one in the file is told, whatever thread meets it first.
    overwrite(options.source, experts, (3 * 2 * rows + rows + 5) * cols * 4 + 7 * 4, as_text({NAN}));
    overwrite(options.source, experts, (3 * 2 * rows + rows + 90) * cols * 4, as_text({INFINITY}));
    const std::string index = "[3, " + std::to_string(rows + 5) + ", 7]";
    expect_error([&] { pack(options); }, Fault::input,
                 {"model.safetensors", "'" + experts + "'", "nan at " + index, "up of expert 3 of layer 2",
                  "--allow-nonfinite"});
    options.allow_nonfinite = true;
    pack(options);
  }
  PackOptions options = this->options("trunk");
  overwrite(options.source, lone, (2 * cols + 9) * 4, as_text({-INFINITY}));
  expect_error([&] { pack(options); }, Fault::input, {"'" + lone + "'", "-inf at [2, 9]", "--allow-nonfinite"});
}

TEST_F(PackTest, ScalesThatAreNotFiniteAreFoundWhereBytesAreKept) {
  tiny_.layout = TinyLayout::gguf;
  for (const Format format : {Format::q8_0, Format::q4_k}) {
    tiny_.format = format;
    PackOptions options = this->options(format_info(format).name);
    const std::string tensor = "blk.1.ffn_down_exps.weight";
    const auto row_bytes = static_cast<uint64_t>(format_bytes(format, tiny_.d_ff));
    const std::string infinity("\x00\x7c", 2);  // both formats' blocks begin with an f16 scale
    overwrite(options.source, tensor, (static_cast<uint64_t>(tiny_.d_model) + 4) * row_bytes, infinity);
    expect_error([&] { pack(options); }, Fault::input, {".gguf", "'" + tensor + "'", "at [1, 4, 0]"});
    options.allow_nonfinite = true;
    pack(options);
    fs::remove_all(folder_ / "source");
  }
}

TEST_F(PackTest, TensorsOfTypesThatAreNotRunAreCopied) {
  tiny_.layout = TinyLayout::gguf;
  tiny_.with_mtp = true;
  PackOptions options = this->options("packed");
  const std::string name = "blk.4.nextn.eh_proj.weight";
  std::fstream file(options.source, std::ios::in | std::ios::out | std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(file), {});
  file.seekp(static_cast<std::streamoff>(whole.find(name) + name.size() + 4 + 2 * 8));  // dimensions, then the type
  file << gguf_number<uint32_t>(26) << std::flush;                                      // I32
  pack(options);
  const auto original = Checkpoint::open(options.source), packed = Checkpoint::open(options.destination);
  ASSERT_EQ(packed->unsupported_tensors().size(), 1u);
  const UnsupportedTensor &from = original->unsupported_tensors()[0], &to = packed->unsupported_tensors()[0];
  EXPECT_EQ(to.name, name);
  EXPECT_EQ(to.format, "I32");
  std::vector<std::byte> wanted(from.bytes), got(to.bytes);
  original->files()[from.file]->read(from.offset, wanted);
  packed->files()[to.file]->read(to.offset, got);
  EXPECT_EQ(got, wanted);
}

}  // namespace
}  // namespace flashmoe
