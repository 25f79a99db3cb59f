// Thousands of damaged headers: each opens or is refused with an Error, quickly and in little memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/clock.h"
#include "checkpoint_input.h"
#include "live_bytes.h"
#include "support/random.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

constexpr int kHeaders = 100'000, kOpened = 300;
constexpr size_t kMaxExtraBytes = 64 * kMiB;
constexpr double kMaxSeconds = 10;  // a hang, not a busy machine

void flip(std::string& bytes, Random& random) {
  for (uint64_t n = 1 + random.below(8); n > 0; --n) {
    bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
  }
}

void truncate(std::string& bytes, Random& random) { bytes.resize(random.below(bytes.size())); }

// Overwrites 4 or 8 bytes with a number that lies at an edge.
void blow_up(std::string& bytes, Random& random) {
  constexpr uint64_t kEdges[] = {0,
                                 1,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 uint64_t{1} << 32,
                                 INT64_MAX,
                                 uint64_t{1} << 63,
                                 UINT64_MAX,
                                 UINT64_MAX - 31,
                                 uint64_t{1} << 61};
  const uint64_t value = kEdges[random.below(std::size(kEdges))];
  const size_t width = random.below(2) == 0 ? 4 : 8;
  if (bytes.size() < width) return;
  std::memcpy(bytes.data() + random.below(bytes.size() - width + 1), &value, width);
}

// Text headers break elsewhere: digits grow, pieces repeat or vanish.
void edit(std::string& bytes, Random& random) {
  const size_t at = random.below(bytes.size()), n = std::min<size_t>(1 + random.below(40), bytes.size() - at);
  switch (random.below(4)) {
    case 0:
      bytes.insert(at, bytes.substr(at, n));
      break;
    case 1:
      bytes.erase(at, n);
      break;
    case 2:
      bytes.insert(at, std::string(n, "[{\"0-,9}]"[random.below(9)]));
      break;
    default:
      bytes.insert(at, "99999999999999999999", 1 + random.below(20));
  }
}

std::string mutated(std::string bytes, Random& random) {
  for (uint64_t rounds = 1 + random.below(3); rounds > 0 && bytes.size() > 1; --rounds) {
    switch (random.below(8)) {
      case 0:
        truncate(bytes, random);
        break;
      case 1:
      case 2:
        flip(bytes, random);
        break;
      case 3:
      case 4:
        edit(bytes, random);
        break;
      default:
        blow_up(bytes, random);
    }
  }
  return bytes;
}

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
