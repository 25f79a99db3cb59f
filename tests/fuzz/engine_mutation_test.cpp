// Whole models with damage in one of their files: each is refused with an Error, or opened, planned, loaded and asked.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "base/bytes.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/pack.h"
#include "flashmoe/session.h"
#include "live_bytes.h"
#include "support/mutation.h"
#include "support/quantised_folder.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kRamBytes = 2048 * kMiB;    // the sanitizer's 1.2 GB included
constexpr size_t kMaxExtraBytes = 256 * kMiB;  // operator new alone, beside what is planned
constexpr double kMaxSeconds = 60;             // of processors: a machine that stands still is no hang

enum class Outcome { refused_open, refused_load, refused_run, answered };

Outcome attempt(const std::string& path, Random& random, std::string* why = nullptr) {
  EngineOptions options;
  options.model_path = path;
  options.ram_bytes = kRamBytes;
  options.n_threads = 1 + static_cast<int>(random.below(2));
  options.io = random.below(2) == 0 ? IoChoice::pread : IoChoice::buffered;
  options.experts = random.below(2) == 0 ? ExpertsChoice::streamed : ExpertsChoice::automatic;
  options.exact = true;  // weights may become NaN, for which 8-bit activations are not defined
  options.learn = false;
  Outcome outcome = Outcome::refused_open;
  try {
    const auto engine = Engine::open(options);
    std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    outcome = Outcome::refused_load;
    if (engine->report().has_tokenizer) {
      const auto text = engine->tokenize("The sun <|im_end|> \xF0\x9F\x8C\x9E is\xFF 1234", Marks::parse);
      engine->detokenize(text);
      if (!text.empty()) ids = text;
    }
    if (engine->report().has_chat_template) {
      ids = engine->chat_prompt(R"({"messages": [{"role": "user", "content": "Hi <|im_end|>"}]})");
    }
    engine->plan(static_cast<int64_t>(ids.size()), 3);
    engine->load(static_cast<int64_t>(ids.size()), 3);
    const auto session = engine->new_session();
    outcome = Outcome::refused_run;
    session->prefill(ids);
    GenerateOptions how;
    how.max_tokens = 3;
    how.sampling.temperature = random.below(2) == 0 ? 0.0F : 1.0F;
    if (engine->report().has_tokenizer) {
      session->generate(how);
    } else {
      session->decode(3);
    }
    return Outcome::answered;
  } catch (const Error& error) {
    // A plan's table has lines of its own.
    const bool one_line = std::string_view(error.what()).find('\n') == std::string_view::npos;
    EXPECT_TRUE(one_line || error.fault() == Fault::memory_floor) << error.what();
    if (why != nullptr) *why = error.what();
    return outcome;
  }
}

// Headers most often, as few bytes of weights change what is done.
std::string damaged(const std::string& name, const std::string& bytes, Random& random) {
  if (name.ends_with(".json") || name.ends_with(".jinja")) {
    return random.below(4) == 0 ? mutated(bytes, random) : mutated_json(bytes, random);
  }
  uint64_t header = 0;
  if (name.ends_with(".safetensors")) {
    std::memcpy(&header, bytes.data(), sizeof(header));
    header += sizeof(header);
    if (random.below(2) == 0) {
      const std::string json = mutated_json(bytes.substr(8, header - 8), random);
      const auto n = static_cast<uint64_t>(json.size());
      return std::string(reinterpret_cast<const char*>(&n), sizeof(n)) + json + bytes.substr(header);
    }
  } else {
    header = bytes.find("tokenizer.ggml.tokens");  // behind it come names of tokens, and tensors at the end of those
    if (header == std::string::npos || random.below(3) == 0) header = bytes.find("blk.1.") + 2000;
  }
  switch (random.below(8)) {
    case 0:
      return mutated(bytes, random);
    case 1:
      return mutated_within(bytes, 0, bytes.size(), random);
    default:
      return mutated_within(bytes, 0, std::min<size_t>(header, bytes.size()), random);
  }
}

// `path`: the file to open, or the folder itself.
void expect_harmless(const std::string& folder, const std::string& path, int n, uint64_t seed,
                     double least_answered = 0.02) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    files.emplace_back(entry.path().string(), read_bytes(entry.path().string()));
  }
  std::sort(files.begin(), files.end());
  Random random(seed);
  std::string why;
  ASSERT_EQ(attempt(path, random, &why), Outcome::answered) << "the undamaged model: " << why;
  std::array<int, 4> n_outcomes = {};
  for (int i = 0; i < n; ++i) {
    const auto& [name, bytes] = files[random.below(files.size())];
    write_bytes(name, damaged(name, bytes, random));
    const size_t allowed = live_bytes() + kMaxExtraBytes;
    reset_peak_live_bytes();
    const std::clock_t start = std::clock();
    try {
      ++n_outcomes[static_cast<size_t>(attempt(path, random))];
    } catch (const std::exception& error) {
      FAIL() << "mutation " << i << " of " << name << ": " << error.what();
    }
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i << " of " << name;
    ASSERT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, kMaxSeconds)
        << "mutation " << i << " of " << name;
    write_bytes(name, bytes);
  }
  // Both ways out are taken, or the mutations test nothing.
  EXPECT_GT(n_outcomes[0], n / 20);
  EXPECT_GE(n_outcomes[3], least_answered * n);
}

TinyModelOptions small_model(TinyLayout layout) {
  TinyModelOptions tiny;
  tiny.layout = layout;
  tiny.n_layers = 2;
  tiny.full_attention_interval = 2;
  tiny.n_experts = 4;
  tiny.context_tokens = 128;
  tiny.with_tokenizer = true;
  return tiny;
}

constexpr int kModels = 75;

TEST(EngineMutation, Gguf) {
  const TempDir dir;
  const std::string path = write_tiny_model(dir.path(), small_model(TinyLayout::gguf));
  expect_harmless(dir.path(), path, fuzz_count(kModels), 31);
}

TEST(EngineMutation, QuantisedSplitGguf) {
  const TempDir dir;
  TinyModelOptions tiny = small_model(TinyLayout::gguf).with_k_quant_dims();
  tiny.format = Format::q4_k;
  tiny.n_files = 2;
  const std::string path = write_tiny_model(dir.path(), tiny);
  expect_harmless(dir.path(), path, fuzz_count(kModels), 32);
}

TEST(EngineMutation, HuggingFaceFolders) {
  for (const TinyLayout layout : {TinyLayout::hf_stacked, TinyLayout::hf_per_expert}) {
    const TempDir dir;
    TinyModelOptions tiny = small_model(layout);
    tiny.n_files = 2;
    const std::string path = write_tiny_model(dir.path(), tiny);
    expect_harmless(dir.path(), path, fuzz_count(kModels), 33 + static_cast<uint64_t>(layout));
  }
}

TEST(EngineMutation, OtherFamilies) {
  for (const TinyFamily family : {TinyFamily::qwen3_next, TinyFamily::qwen3_moe}) {
    for (const TinyLayout layout : {TinyLayout::gguf, TinyLayout::hf_stacked}) {
      const TempDir dir;
      TinyModelOptions tiny = small_model(layout);
      tiny.family = family;
      if (family == TinyFamily::qwen3_moe) tiny.d_rotary = tiny.d_head;
      const std::string path = write_tiny_model(dir.path(), tiny);
      expect_harmless(dir.path(), path, fuzz_count(kModels / 3), 40 + static_cast<uint64_t>(layout));
    }
  }
}

TEST(EngineMutation, QuantisedFolders) {
  for (const Format format : {Format::affine4, Format::fp8_e4m3}) {
    const TempDir dir;
    for (const char* name : {"source", "quantised", "plain"}) fs::create_directory(dir / name);
    TinyModelOptions tiny = small_model(TinyLayout::hf_stacked);
    write_tiny_model(dir / "source", tiny);
    FolderQuantisation how;
    how.format = format;
    if (format == Format::fp8_e4m3) how.grid = {ScaleType::f32, 32, 32, 0};
    write_quantised(dir / "source", how, dir / "quantised", dir / "plain");
    expect_harmless(dir / "quantised", dir / "quantised", fuzz_count(kModels), 50);
  }
}

TEST(EngineMutation, PackedFolders) {
  const TempDir dir;
  for (const char* name : {"source", "packed"}) fs::create_directory(dir / name);
  PackOptions options;
  options.source = write_tiny_model(dir / "source", small_model(TinyLayout::gguf));
  options.destination = dir / "packed";
  options.experts = "q8_0";
  pack(options);
  expect_harmless(dir / "packed", dir / "packed", fuzz_count(kModels), 60, 0);  // checksums find nearly all
}

}  // namespace
}  // namespace flashmoe
