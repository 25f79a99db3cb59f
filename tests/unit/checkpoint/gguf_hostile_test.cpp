// Damaged and malicious GGUF files.
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/contents.h"
#include "checkpoint/gguf.h"
#include "support/expect_error.h"
#include "support/small_files.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

constexpr uint32_t kF32 = 0, kQ8_0 = 8, kQ4K = 12;

void expect_refused(const std::string& bytes, Fault fault, std::initializer_list<std::string_view> needles) {
  const TempDir folder;
  const std::string path = folder.write("bad.gguf", bytes);
  expect_error([&] { Checkpoint::open(path); }, fault, needles);
  expect_error([&] { Checkpoint::open(path); }, fault, {"bad.gguf"});
}

// A header that ends where the next thing should be, without the padding and data of a whole file.
std::string header(uint64_t n_tensors, uint64_t n_entries, const std::string& rest) {
  return "GGUF" + gguf_number<uint32_t>(3) + gguf_number(n_tensors) + gguf_number(n_entries) + rest;
}

std::string entry(const std::string& key, GgufKind kind, const std::string& value) {
  return gguf_string(key) + gguf_number(static_cast<uint32_t>(kind)) + value;
}

TEST(GgufHostile, Versions) {
  for (const uint32_t version : {0u, 1u, 4u, 70000u}) {
    GgufWriter writer = small_gguf();
    writer.version = version;
    expect_refused(writer.bytes(), Fault::unsupported, {"version " + std::to_string(version)});
  }
  for (const uint32_t version : {0x02000000u, 0x03000000u}) {
    GgufWriter writer = small_gguf();
    writer.version = version;
    expect_refused(writer.bytes(), Fault::unsupported, {"big-endian"});
  }
}

TEST(GgufHostile, TruncatedAnywhere) {
  const std::string bytes = small_gguf().bytes();
  for (size_t n_bytes = 0; n_bytes < bytes.size(); ++n_bytes) {
    const auto file = std::make_shared<MemoryFile>(bytes.substr(0, n_bytes));
    CheckpointContents contents;
    expect_error([&] { add_file(contents, file, read_gguf_header(*file).tensors); }, Fault::input, {"truncated"});
  }
}

TEST(GgufHostile, TruncatedDataSaysHowMuchIsMissing) {
  std::string bytes = small_gguf().bytes();
  bytes.resize(bytes.size() - 7);
  expect_refused(bytes, Fault::input, {"7 bytes are missing", "'c'"});
}

TEST(GgufHostile, CountsBeyondTheFile) {
  for (const uint64_t count : {uint64_t{1000}, uint64_t{1} << 32, uint64_t{1} << 63, UINT64_MAX}) {
    GgufWriter writer = small_gguf();
    writer.claimed_entries = count;
    expect_refused(writer.bytes(), Fault::input, {});
    writer = small_gguf();
    writer.claimed_tensors = count;
    expect_refused(writer.bytes(), Fault::input, {"list of tensors"});
  }
}

TEST(GgufHostile, LengthsBeyondTheFile) {
  for (const uint64_t length : {uint64_t{100}, uint64_t{1} << 40, uint64_t{1} << 63, UINT64_MAX}) {
    expect_refused(header(0, 1, gguf_number(length) + "key and a little more"), Fault::input, {"metadata key"});
    expect_refused(header(0, 1, entry("k", GgufKind::string, gguf_number(length) + "value")), Fault::input,
                   {"metadata value"});
    expect_refused(header(1, 0, gguf_number(length) + std::string(32, 'n')), Fault::input, {"tensor's name"});
    for (const GgufKind kind : {GgufKind::u8, GgufKind::i64, GgufKind::f32, GgufKind::f64, GgufKind::string}) {
      const std::string array = gguf_number(static_cast<uint32_t>(kind)) + gguf_number(length) + std::string(40, '\0');
      expect_refused(header(0, 1, entry("k", GgufKind::array, array)), Fault::input, {"array"});
    }
  }
}

TEST(GgufHostile, OverlongNames) {
  const std::string filler(200'000, '\0');
  expect_refused(header(0, 1, gguf_string(std::string(70'000, 'k')) + filler), Fault::input, {"metadata key", "70000"});
  expect_refused(header(1, 0, gguf_string(std::string(2'000, 'n')) + filler), Fault::input, {"tensor's name", "2000"});
}

TEST(GgufHostile, MetadataTypes) {
  expect_refused(header(0, 1, entry("odd", static_cast<GgufKind>(13), std::string(64, '\0'))), Fault::input,
                 {"'odd'", "type 13"});
  GgufWriter writer;
  writer.add_array("odd", static_cast<GgufKind>(77), 1, std::string(64, '\0'));
  expect_refused(writer.bytes(), Fault::input, {"'odd'", "type 77"});
}

TEST(GgufHostile, ArraysOfArrays) {
  std::string nested;
  for (int depth = 0; depth < 10'000; ++depth) {
    nested += gguf_number(static_cast<uint32_t>(GgufKind::array)) + gguf_number<uint64_t>(1);
  }
  expect_refused(header(0, 1, entry("deep", GgufKind::array, nested)), Fault::unsupported, {"'deep'", "arrays"});
}

TEST(GgufHostile, NumbersBeyond63BitsInArrays) {
  GgufWriter writer;
  writer.add_array("big", GgufKind::u64, 1, gguf_number(UINT64_MAX));
  expect_refused(writer.bytes(), Fault::input, {"'big'", "63 bits"});
}

TEST(GgufHostile, AHeaderThatDecodesToTooMuch) {
  // Empty strings cost 8 bytes in the file and four times that in memory.
  GgufWriter writer;
  writer.add_array("empties", GgufKind::string, 9'000'000, std::string(72'000'000, '\0'));
  expect_refused(writer.bytes(), Fault::input, {"memory"});
}

TEST(GgufHostile, Duplicates) {
  GgufWriter writer = small_gguf();
  writer.add_u32("u32", 1);
  expect_refused(writer.bytes(), Fault::input, {"'u32'", "twice"});
  writer = small_gguf();
  writer.add_tensor("a", {1}, kF32, "1234");
  expect_refused(writer.bytes(), Fault::input, {"'a'", "twice"});
  writer = small_gguf();
  writer.add_tensor("c", {1}, kF32, "1234");  // the other "c" is of a format that cannot be run
  expect_refused(writer.bytes(), Fault::input, {"'c'", "twice"});
}

TEST(GgufHostile, Alignment) {
  for (const uint32_t alignment : {0u, 3u, 48u, 1u << 30}) {
    GgufWriter writer;
    writer.add_u32("general.alignment", alignment);
    writer.add_tensor("a", {1}, kF32, "1234");
    expect_refused(writer.bytes(), Fault::input, {"general.alignment", std::to_string(alignment)});
  }
  GgufWriter writer;
  writer.add_string("general.alignment", "32");
  expect_refused(writer.bytes(), Fault::input, {"general.alignment"});
}

TEST(GgufHostile, Dimensions) {
  const auto with_shape = [](const std::vector<uint64_t>& shape, uint32_t type) {
    GgufWriter writer;
    writer.add_tensor("t", shape, type, std::string(64, '\0'));
    return writer.bytes();
  };
  expect_refused(with_shape({}, kF32), Fault::input, {"'t'", "0 dimensions"});
  expect_refused(with_shape({1, 1, 1, 1, 1}, kF32), Fault::input, {"'t'", "5 dimensions"});
  expect_refused(with_shape({4, 0}, kF32), Fault::input, {"'t'", "dimension of 0"});
  expect_refused(with_shape({UINT64_MAX}, kF32), Fault::input, {"'t'"});
  expect_refused(with_shape({uint64_t{1} << 32, uint64_t{1} << 32}, kF32), Fault::input, {"'t'", "64 bits"});
  expect_refused(with_shape({uint64_t{1} << 31, uint64_t{1} << 31, 4}, kF32), Fault::input, {"'t'", "64 bits"});
  expect_refused(with_shape({uint64_t{1} << 62}, kF32), Fault::input, {"'t'", "64 bits"});
  expect_refused(with_shape({uint64_t{1} << 62, 8}, 99), Fault::input, {"'t'", "64 bits"});
  expect_refused(with_shape({uint64_t{1} << 40}, kF32), Fault::input, {"'t'", "missing"});
  expect_refused(with_shape({2, 33}, kQ8_0), Fault::input, {"'t'", "33 values", "multiple of 32"});
  expect_refused(with_shape({4, 128}, kQ4K), Fault::input, {"'t'", "128 values", "multiple of 256"});
}

TEST(GgufHostile, Offsets) {
  GgufWriter writer;
  writer.add_tensor("t", {1}, kF32, "1234", 4);
  expect_refused(writer.bytes(), Fault::input, {"'t'", "offset 4", "alignment 32"});
  writer = GgufWriter();
  writer.add_tensor("t", {1}, kF32, "1234", uint64_t{1} << 40);
  expect_refused(writer.bytes(), Fault::input, {"'t'", "missing"});
  writer = GgufWriter();
  writer.add_tensor("t", {1}, kF32, "1234", UINT64_MAX - 31);
  expect_refused(writer.bytes(), Fault::input, {"'t'"});
  writer = GgufWriter();
  writer.add_tensor("t", {1}, 99, "1234", uint64_t{1} << 40);  // no size is known, but its offset is
  expect_refused(writer.bytes(), Fault::input, {"'t'", "missing"});
}

TEST(GgufHostile, Overlap) {
  GgufWriter writer;
  writer.add_tensor("first", {16}, kF32, std::string(64, '\0'));
  writer.add_tensor("second", {16}, kF32, std::string(64, '\0'), 32);
  expect_refused(writer.bytes(), Fault::input, {"'first'", "'second'", "overlap"});
  writer = GgufWriter();
  writer.add_tensor("first", {16}, kF32, std::string(64, '\0'));
  writer.add_tensor("second", {16}, kF32, std::string(64, '\0'), 0);
  expect_refused(writer.bytes(), Fault::input, {"overlap"});
  writer = GgufWriter();
  writer.add_tensor("first", {16}, kF32, std::string(64, '\0'));
  writer.add_tensor("unknown", {16}, 99, std::string(64, '\0'), 32);
  expect_refused(writer.bytes(), Fault::input, {"'first'", "'unknown'", "overlap"});
}

TEST(GgufHostile, NamesCannotBreakTheMessage) {
  GgufWriter writer;
  writer.add_tensor("evil\nname\x1b[31m", {4, 0}, kF32, "");
  expect_refused(writer.bytes(), Fault::input, {"evil\\x0aname\\x1b"});
}

TEST(GgufHostile, NoTensors) {
  GgufWriter writer;
  writer.add_string("general.name", "vocabulary");
  expect_refused(writer.bytes(), Fault::input, {"without tensors"});
}

TEST(GgufHostile, MissingPartsAreNamed) {
  const TempDir folder;
  TinyModelOptions options;
  options.n_files = 4;
  const std::string first = write_tiny_model(folder.path(), options);
  ASSERT_EQ(std::remove((folder / "model-00002-of-00004.gguf").c_str()), 0);
  ASSERT_EQ(std::remove((folder / "model-00004-of-00004.gguf").c_str()), 0);
  for (const std::string& path : {first, folder / "model-00003-of-00004.gguf", folder.path()}) {
    expect_error([&] { Checkpoint::open(path); }, Fault::input,
                 {"2 of 4", "'model-00002-of-00004.gguf'", "'model-00004-of-00004.gguf'"});
  }
}

TEST(GgufHostile, PartsMustBelongTogether) {
  const auto part = [](int number, int count, int n_tensors, const std::string& tensor) {
    GgufWriter writer;
    writer.add_u16("split.no", static_cast<uint16_t>(number));
    writer.add_u16("split.count", static_cast<uint16_t>(count));
    writer.add_i32("split.tensors.count", n_tensors);
    writer.add_tensor(tensor, {1}, kF32, "1234");
    return writer.bytes();
  };
  const TempDir folder;
  const std::string one = folder.write("m-00001-of-00002.gguf", part(0, 2, 2, "a"));
  const auto expect_second = [&](const std::string& bytes, std::initializer_list<std::string_view> needles) {
    folder.write("m-00002-of-00002.gguf", bytes);
    expect_error([&] { Checkpoint::open(one); }, Fault::input, needles);
  };
  expect_second(part(0, 2, 2, "b"), {"m-00002-of-00002.gguf", "part 1 of 2", "2 of 2"});
  expect_second(part(1, 3, 2, "b"), {"m-00002-of-00002.gguf", "part 2 of 3"});
  expect_second(part(1, 2, 2, "a"), {"'a'", "twice", "m-00001-of-00002.gguf"});
  folder.write("m-00001-of-00002.gguf", part(0, 2, 5, "a"));
  expect_second(part(1, 2, 5, "b"), {"2 tensors", "5 were expected"});
  const std::string renamed = folder.write("renamed.gguf", part(0, 2, 2, "a"));
  expect_error([&] { Checkpoint::open(renamed); }, Fault::input, {"renamed.gguf", "split of 2", "name"});
  GgufWriter negative;
  negative.add_i32("split.count", -2);
  negative.add_tensor("a", {1}, kF32, "1234");
  expect_refused(negative.bytes(), Fault::input, {"split.count"});
}

}  // namespace
}  // namespace flashmoe
