// Damaged small files: what the program keeps for itself is used or forgotten, what a user names is used or refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/bench_record.h"
#include "engine/cache_folder.h"
#include "experts/use_record.h"
#include "flashmoe/error.h"
#include "flashmoe/pack.h"
#include "io/disk_record.h"
#include "live_bytes.h"
#include "pack/importance.h"
#include "pack/recipe.h"
#include "support/mutation.h"
#include "support/safetensors_writer.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxExtraBytes = 4 * kMiB;
const int kFiles = fuzz_count(500);

// Writes damaged forms of a file to its place and has it read; `read` tells whether it was taken.
void expect_harmless(const std::string& path, uint64_t seed, bool is_text, const std::function<bool()>& read) {
  const std::string whole = read_bytes(path);
  ASSERT_TRUE(read()) << "the undamaged file";
  Random random(seed);
  int n_taken = 0;
  for (int i = 0; i < kFiles; ++i) {
    const std::string bytes = is_text && random.below(3) != 0 ? mutated_json(whole, random) : mutated(whole, random);
    write_bytes(path, bytes);
    const size_t allowed = live_bytes() + kMaxExtraBytes;
    reset_peak_live_bytes();
    bool taken = false;
    try {
      taken = read();
    } catch (const Error& error) {
      ASSERT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
    } catch (const std::exception& error) {
      FAIL() << error.what() << " with mutation " << i << ": " << bytes.substr(0, 4096);
    }
    n_taken += taken && bytes != whole ? 1 : 0;
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i;
  }
  EXPECT_LT(n_taken, kFiles);
}

TEST(RecordMutation, UseOfExperts) {
  const TempDir dir;
  const std::string path = dir / "a.use";
  UseRates use{100, std::vector<float>(32, 0.25F)};
  ASSERT_TRUE(save_use_rates(path, use));
  expect_harmless(path, 81, false, [&] {
    std::string note;
    const UseRates found = load_use_rates(path, 4, 8, note);
    CHECK(found.rates.empty() || (found.rates == use.rates && found.n_tokens == 100));  // checked, so the same
    CHECK(found.rates.empty() != note.empty());
    return !found.rates.empty();
  });
}

TEST(RecordMutation, TrialsOfDrives) {
  const TempDir dir;
  const DiskChoice choice{ReadEngine::uring, 16, true, 0, 1.5};
  save_disk_choice(dir.path(), "a drive", choice);
  const std::string path = fs::directory_iterator(dir.path())->path().string();
  expect_harmless(path, 82, true, [&] {
    const auto found = load_disk_choice(dir.path(), "a drive");
    CHECK(!found || (found->depth == 16 && found->direct));  // checked, so the same
    return found.has_value();
  });
}

TEST(RecordMutation, BenchRecord) {
  const TempDir dir;
  const std::vector<std::string> files = {dir.write("model.gguf", "abc")};
  BenchRecord first(dir.path(), files, 3);
  for (const double share : {0.1, 0.3, 0.7}) {
    ASSERT_TRUE(first.remember({.share = share, .hit_rate = 0.5, .compute_s = 0.1, .machine = "2, avx2"}));
  }
  const std::string path = model_record_path(dir.path(), files, 3) + ".hit_rates.json";
  expect_harmless(path, 83, true, [&] {
    BenchRecord rates(dir.path(), files, 3);
    for (const double share : {0.0, 0.2, 0.5, 1.0}) {
      const double expected = expected_hit_rate(rates.points(), share);
      CHECK(expected >= 0 && expected <= 1);
    }
    const bool knows = rates.know_hits();
    const BenchPoint* computed = rates.nearest("2, avx2", 0.5, &BenchPoint::compute_s);
    CHECK(computed == nullptr || computed->compute_s > 0);
    CHECK(rates.remember({.share = 0.5, .hit_rate = 0.5, .machine = "x"}));  // what was read can be written
    return knows;
  });
}

TEST(RecordMutation, ImportanceFiles) {
  const TempDir dir;
  SafetensorsWriter writer;
  const std::vector<float> ones(64, 1);
  const std::string bytes(reinterpret_cast<const char*>(ones.data()), ones.size() * sizeof(float));
  writer.add_tensor("layers.0.experts.gate_up.counts", "F32", {2}, bytes.substr(0, 8));
  writer.add_tensor("layers.0.experts.gate_up", "F32", {2, 32}, bytes);
  writer.add_tensor("layers.0.experts.down", "F32", {2, 32}, bytes);
  writer.add_tensor("output.weight", "F32", {32}, bytes.substr(0, 128));
  const std::string path = dir.write("a.imatrix", writer.bytes());
  expect_harmless(path, 84, true, [&] {
    const Importance importance(path);
    std::vector<float> values(32);
    const auto look = [&](const Extent& extent) {
      if (extent.bytes == 0) return;
      CHECK(extent.bytes == values.size() * sizeof(float));
      importance.read(extent, values);
    };
    look(importance.of_tensor("output.weight", 32));
    for (const char* role : {"gate", "up", "down"}) look(importance.of_expert(0, role, 1, 2, 32));
    return true;
  });
}

TEST(RecordMutation, Recipes) {
  const TempDir dir;
  PackOptions options;
  options.recipe = dir.write("recipe.json", R"({"experts": "q4_k", "down": "q6_k", "trunk": "q8_0", "norm": "keep",
    "layers": {"0-3": {"experts": "q8_0"}, "2": {"attention": "f16"}, "3": {"down": "keep"}}})");
  expect_harmless(options.recipe, 85, true, [&] {
    const Recipe recipe(options);
    recipe.check_layers(1000);
    for (int layer = -1; layer < 4; ++layer) {
      for (const char* role : {"gate", "down", "attention", "output", "norm"}) recipe.format(role, layer);
    }
    return !recipe.settings().dump().empty();
  });
}

}  // namespace
}  // namespace flashmoe
