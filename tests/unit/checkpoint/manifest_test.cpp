#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/small_files.h"

namespace flashmoe {
namespace {

std::string manifest_with_groups_of(int32_t group_cols) {
  Manifest manifest;
  manifest.trunk_checksums.header_bytes = 1;
  manifest.trunk_bytes = 2;
  const PackedMatrix apart = {Format::affine4, {ScaleType::bf16, 1, group_cols, 0}, 64, 384};
  manifest.apart.push_back({"output.weight", apart, {64, 384}});
  manifest.n_experts = 1;
  manifest.layers.push_back({{apart, apart, apart}, {1}});
  manifest.source = manifest.settings = nlohmann::json::object();
  return manifest.to_json();
}

// Kernels multiply 1,024 columns at a time, which are to be whole groups.
TEST(Manifest, HasGroupsOf32And64And128) {
  for (const int32_t group_cols : {32, 64, 128}) {
    EXPECT_NO_THROW(Manifest::parse(MemoryFile(manifest_with_groups_of(group_cols)))) << group_cols;
  }
  for (const int32_t group_cols : {16, 96, 192, 384}) {
    expect_error([&] { Manifest::parse(MemoryFile(manifest_with_groups_of(group_cols))); }, Fault::input,
                 {"groups of scales"});
  }
}

}  // namespace
}  // namespace flashmoe
