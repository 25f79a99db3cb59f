// Manifests with bytes off: what is accepted says what was written.
#include <gtest/gtest.h>

#include "checkpoint/manifest.h"
#include "flashmoe/error.h"
#include "support/mutation.h"
#include "support/random.h"
#include "support/small_files.h"

namespace flashmoe {
namespace {

const int kManifests = fuzz_count(10'000);

Manifest small_manifest() {
  Manifest manifest;
  manifest.trunk_bytes = 12345;
  manifest.trunk_checksums = {9000, 0x0123456789abcdef, {{"output.weight", 7}, {"output_norm.weight", 8}}};
  manifest.n_experts = 2;
  const PackedMatrix apart = {Format::affine4, {ScaleType::bf16, 1, 64, 0}, 64, 128};
  manifest.apart.push_back({"output.weight", apart, {64, 128}});
  for (uint64_t layer = 0; layer < 2; ++layer) {
    const PackedMatrix plain = {Format::q4_0, {}, 64, 128};
    manifest.layers.push_back({{plain, plain, apart}, {layer, ~layer}});
  }
  manifest.source = {{"files", {"model-00001.safetensors"}}};
  manifest.settings = {{"formats", {{"experts", "q4_0"}}}};
  return manifest;
}

std::string mutated_manifest(std::string text, Random& random) {
  static const char* const kPieces[] = {"0",        "-1",   "1e9",  "18446744073709551615",
                                        "null",     "[]",   "{}",   "\"q4_k\"",
                                        "iq4_nl",   "q4_0", "bf16", "f16",
                                        "\"xxh3\"", ",",    "\"",   "}"};
  for (uint64_t n = 1 + random.below(3); n > 0; --n) {
    const size_t at = random.below(text.size());
    switch (random.below(5)) {
      case 0:
        text[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        text[at] = text[random.below(text.size())];
        break;
      case 2:
        text.erase(at, 1 + random.below(20));
        break;
      case 3:
        text.insert(at, kPieces[random.below(std::size(kPieces))]);
        break;
      default:
        text.insert(at, text.substr(random.below(text.size()), 1 + random.below(60)));
    }
    if (text.empty()) text = " ";
  }
  return text;
}

TEST(PackedFolderMutation, AnAcceptedManifestSaysWhatWasWritten) {
  const std::string whole = small_manifest().to_json();
  ASSERT_EQ(Manifest::parse(MemoryFile(whole)).to_json(), whole);
  Random random(31);
  int n_accepted = 0;
  for (int i = 0; i < kManifests; ++i) {
    const std::string text = mutated_manifest(whole, random);
    try {
      EXPECT_EQ(Manifest::parse(MemoryFile(text)).to_json(), whole) << text;
      ++n_accepted;
    } catch (const Error& error) {
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
      EXPECT_NE(std::string_view(error.what()).find("memory"), std::string_view::npos) << error.what();
    }
  }
  EXPECT_GT(n_accepted, 0);  // blanks came or went
  EXPECT_LT(n_accepted, kManifests / 5);
}

}  // namespace
}  // namespace flashmoe
