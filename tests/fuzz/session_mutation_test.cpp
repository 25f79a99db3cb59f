// Thousands of damaged session files, with checksums that fit: each is read or refused with an Error, in little memory.
#include <gtest/gtest.h>

#include <cstring>

#include "base/bytes.h"
#include "base/checksum.h"
#include "engine/session_file.h"
#include "flashmoe/error.h"
#include "live_bytes.h"
#include "support/mutation.h"
#include "support/random.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

const int kFiles = fuzz_count(20'000);
constexpr size_t kMaxExtraBytes = kMiB;
const std::string kIdentity = "model 0123456789abcdef keys f16 kernels avx2 flashmoe 0.1.0";

std::string whole_file() {
  const TempDir dir;
  SessionRecord record{SessionPart::kv, 64, std::vector<int32_t>(192, 7)};
  std::string payload(1000, 'x');
  write_session_file(dir / "a.kv", kIdentity, record, {std::as_writable_bytes(std::span(payload))});
  return read_bytes(dir / "a.kv");
}

size_t header_bytes(const std::string& file) {
  uint32_t n = 0;
  std::memcpy(&n, file.data() + 8, sizeof(n));
  return n;
}

// Other bytes, most often in the numbers of the header, whose checksum is made anew where it still is in the file.
std::string damaged(std::string bytes, Random& random) {
  const uint64_t kind = random.below(8);
  if (kind == 0) bytes.resize(random.below(bytes.size()));
  if (kind == 1) bytes.insert(random.below(bytes.size()), random.below(64), 'y');
  for (uint64_t n = random.below(3); n > 0 && !bytes.empty(); --n) {
    const size_t within = std::min<size_t>(bytes.size(), random.below(4) == 0 ? bytes.size() : 52);
    bytes[random.below(within)] = static_cast<char>(random.below(256));
  }
  const size_t n = bytes.size() < 12 ? 0 : header_bytes(bytes);
  if (n >= 60 && n <= bytes.size() && random.below(8) != 0) {
    const uint64_t checksum = checksum_of(std::as_bytes(std::span(bytes).first(n - 8)));
    std::memcpy(bytes.data() + n - 8, &checksum, 8);
  }
  return bytes;
}

// True when all of it was read.
bool reads(std::string bytes) {
  try {
    const SessionFile file(std::make_shared<MemoryFile>(std::move(bytes)), kIdentity);
    EXPECT_LE(file.record().n_before, static_cast<int64_t>(file.record().ids.size()));
    std::string payload(file.payload_bytes(), '\0');
    file.read({std::as_writable_bytes(std::span(payload))});
    return payload == std::string(1000, 'x');
  } catch (const Error&) {
    return false;
  }
}

TEST(SessionMutation, ReadsOrRefuses) {
  const std::string whole = whole_file();
  ASSERT_TRUE(reads(whole));
  Random random(11);
  int n_read = 0;
  for (int i = 0; i < kFiles; ++i) {
    std::string bytes = damaged(whole, random);
    const size_t allowed = live_bytes() + 3 * bytes.size() + kMaxExtraBytes;
    reset_peak_live_bytes();
    n_read += reads(std::move(bytes)) ? 1 : 0;
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i;
  }
  // Both ways out are taken, or the mutations test nothing.
  EXPECT_GT(n_read, kFiles / 100);
  EXPECT_LT(n_read, kFiles * 9 / 10);
}

}  // namespace
}  // namespace flashmoe
