// Thousands of damaged headers: each opens or is refused with an Error, quickly and in little memory.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/clock.h"
#include "checkpoint_input.h"
#include "live_bytes.h"
#include "support/mutation.h"
#include "support/random.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

const int kHeaders = fuzz_count(100'000), kOpened = fuzz_count(300);
constexpr size_t kMaxExtraBytes = 64 * kMiB;
constexpr double kMaxSeconds = 10;  // a hang, not a busy machine

// A safetensors file whose length field follows the mutated header, so that the JSON inside is reached.
std::string mutated_safetensors(const std::string& bytes, Random& random) {
  if (random.below(4) == 0) return mutated(bytes, random);
  constexpr size_t kData = 36;
  const std::string header = mutated(bytes.substr(8, bytes.size() - 8 - kData), random);
  return SafetensorsWriter::with_header(header, std::string(kData, '\0'));
}

void expect_harmless(HeaderKind kind, const std::string& bytes, int n_headers) {
  ASSERT_TRUE(header_opens(kind, bytes)) << "the undamaged header";
  Random random(static_cast<uint64_t>(kind) + 1);
  int n_opened = 0;
  for (int i = 0; i < n_headers; ++i) {
    std::string damaged = kind == HeaderKind::safetensors ? mutated_safetensors(bytes, random) : mutated(bytes, random);
    const size_t allowed = live_bytes() + damaged.size() + kMaxExtraBytes;
    reset_peak_live_bytes();
    const uint64_t start = now_ns();
    n_opened += header_opens(kind, std::move(damaged)) ? 1 : 0;
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i;
    ASSERT_LT(seconds_since(start), kMaxSeconds) << "mutation " << i;
  }
  // Both ways out are taken, or the mutations test nothing.
  EXPECT_GT(n_opened, 0);
  EXPECT_LT(n_opened, n_headers / 2);
}

constexpr const char* kIndex =
    R"({"metadata":{"total_size":36,"more":[1,{"x":null}]},"weight_map":{"a":"m.safetensors","b":"m.safetensors"}})";

TEST(CheckpointMutation, GgufHeaders) { expect_harmless(HeaderKind::gguf, small_gguf().bytes(), kHeaders); }
TEST(CheckpointMutation, SafetensorsHeaders) {
  expect_harmless(HeaderKind::safetensors, small_safetensors().bytes(), kHeaders);
}
TEST(CheckpointMutation, Indexes) { expect_harmless(HeaderKind::index, kIndex, kHeaders); }

// The same through real files and the whole of Checkpoint::open.
template <typename Damage>
void expect_open_harmless(const TempDir& folder, const std::string& name, Damage&& damage) {
  for (int i = 0; i < kOpened; ++i) {
    const std::string bytes = damage();
    const std::string path = folder.write(name, bytes);
    const size_t allowed = live_bytes() + bytes.size() + kMaxExtraBytes;
    reset_peak_live_bytes();
    try {
      Checkpoint::open(folder.path());
    } catch (const Error& error) {
      ASSERT_NE(std::string_view(error.what()), "");
    }
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i;
  }
}

TEST(CheckpointMutation, GgufFiles) {
  const TempDir folder;
  Random random(11);
  const std::string bytes = small_gguf().bytes();
  expect_open_harmless(folder, "m.gguf", [&] { return mutated(bytes, random); });
}

TEST(CheckpointMutation, SafetensorsFolders) {
  const TempDir folder;
  Random random(12);
  const std::string weights = small_safetensors().bytes(), config = R"({"a":[1,2,{"b":null}],"c":"d"})";
  folder.write("config.json", config);
  expect_open_harmless(folder, "m.safetensors", [&] { return mutated_safetensors(weights, random); });
  folder.write("m.safetensors", weights);
  expect_open_harmless(folder, "config.json", [&] { return mutated(config, random); });
  folder.write("config.json", config);
  expect_open_harmless(folder, "model.safetensors.index.json", [&] { return mutated(kIndex, random); });
}

}  // namespace
}  // namespace flashmoe
