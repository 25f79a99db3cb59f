#include "io/direct_alignment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "support/patterned_bytes.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

TEST(DirectAlignment, NamesAnAlignmentThatWorks) {
  const TempDir folder;
  const std::string bytes = patterned_bytes(1 << 20);
  const auto file = open_file(folder.write("f", bytes));
  const uint32_t alignment = probe_direct_alignment(*file);
  if (alignment == 0) GTEST_SKIP() << "the file system of " << folder.path() << " has no O_DIRECT";
  EXPECT_TRUE(alignment == 512 || alignment == 4096) << alignment;
  // Reads of one unit at several places, into memory aligned no better than promised.
  alignas(4096) static std::array<std::byte, 16384> memory;
  for (const uint64_t unit : {uint64_t{0}, uint64_t{1}, uint64_t{7}, uint64_t{100}}) {
    std::byte* dest = memory.data() + alignment;
    const auto offset = static_cast<off_t>(unit * alignment);
    ASSERT_EQ(::pread(file->direct_fd(), dest, alignment, offset), static_cast<ssize_t>(alignment));
    EXPECT_EQ(std::memcmp(dest, bytes.data() + offset, alignment), 0) << unit;
  }
}

TEST(DirectAlignment, SmallFiles) {
  const TempDir folder;
  EXPECT_EQ(probe_direct_alignment(*open_file(folder.write("empty", ""))), 0u);
  const auto large = open_file(folder.write("large", patterned_bytes(1 << 16)));
  for (const size_t n_bytes : {size_t{1}, size_t{511}, size_t{513}, size_t{5000}}) {
    const auto small = open_file(folder.write("small", patterned_bytes(n_bytes)));
    EXPECT_EQ(probe_direct_alignment(*small), probe_direct_alignment(*large)) << n_bytes;
  }
}

}  // namespace
}  // namespace flashmoe
