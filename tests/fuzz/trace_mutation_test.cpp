// Thousands of damaged traces, with checksums that fit: each is read or refused with an Error, in little memory.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "experts/trace_encoding.h"
#include "experts/trace_reader.h"
#include "experts/trace_replay.h"
#include "flashmoe/error.h"
#include "live_bytes.h"
#include "support/made_up_trace.h"
#include "support/mutation.h"
#include "support/random.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

const int kTraces = fuzz_count(20'000);
constexpr size_t kMaxExtraBytes = 64 * kMiB;

void flip(std::string& bytes, Random& random) {
  for (uint64_t n = 1 + random.below(3); n > 0 && !bytes.empty(); --n) {
    bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
  }
}

// The same trace with other bytes in the header or a step, and checksums made anew so that what is behind them is seen.
std::string damaged(const std::string& whole, Random& random) {
  const auto word = [](const std::string& bytes, size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    return value;
  };
  const size_t n_json = word(whole, 8), n_rates = 36 * sizeof(float);
  std::string header = whole.substr(12, n_json), rates = whole.substr(12 + n_json, n_rates);
  if (random.below(3) == 0) flip(header, random);
  if (random.below(8) == 0) flip(rates, random);
  std::string out = whole.substr(0, 8);
  put(out, static_cast<uint32_t>(header.size()));
  out += header + rates;
  put(out, trace_checksum(header + rates));
  for (size_t at = 12 + n_json + n_rates + 4; word(whole, at) != 0;) {
    const size_t n = word(whole, at);
    std::string block = whole.substr(at + 8, n);
    if (random.below(3) == 0) flip(block, random);
    if (random.below(20) == 0) block.resize(random.below(block.size()));
    put(out, static_cast<uint32_t>(block.size()));
    put(out, trace_checksum(block));
    out += block;
    at += 8 + n;
  }
  return out + whole.substr(whole.size() - kTraceEndBytes);
}

// True when all of it was read, and went through a cache.
bool reads(std::string bytes) {
  try {
    const auto trace = open_trace(std::make_shared<MemoryFile>(std::move(bytes)));
    const TraceHeader& h = trace->header();
    const auto cache = h.classes.empty() ? nullptr
                                         : make_replay_cache(CachePolicy::two_timescale, h, h.classes,
                                                             GivenBack::as_recorded, nullptr);
    TraceStep step;
    ReplayMisses missed;
    while (trace->next(step)) {
      for (size_t l = 0; l < step.layers.size() && cache != nullptr; ++l) {
        cache->pick(step, l, missed);
      }
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

void expect_harmless(const std::function<std::string(Random&)>& make) {
  Random random(7);
  int n_read = 0;
  for (int i = 0; i < kTraces; ++i) {
    std::string bytes = make(random);
    const size_t allowed = live_bytes() + bytes.size() + kMaxExtraBytes;
    reset_peak_live_bytes();
    n_read += reads(std::move(bytes)) ? 1 : 0;
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i;
  }
  // Both ways out are taken, or the mutations test nothing.
  EXPECT_GT(n_read, kTraces / 100);
  EXPECT_LT(n_read, kTraces * 9 / 10);
}

TEST(TraceMutation, Binary) {
  const TempDir dir;
  const std::string whole = read_bytes(made_up_trace(dir / "a.trace", 6));
  ASSERT_TRUE(reads(whole));
  expect_harmless([&](Random& random) { return damaged(whole, random); });
}

TEST(TraceMutation, ListsOfPicks) {
  const std::string whole =
      "{\"layers\": [[1, 2], [3, 4]]}\n{\"layers\": [[5, 12], [0, 3]]}\n{\"layers\": [[7, 1], [3, 4]]}\n";
  ASSERT_TRUE(reads(whole));
  expect_harmless([&](Random& random) {
    std::string bytes = whole;
    const uint64_t kind = random.below(3);
    if (kind == 0) bytes.resize(random.below(bytes.size()));
    if (kind == 1) bytes.insert(random.below(bytes.size()), "[{\"0-,9}]"[random.below(9)] + std::string(1, '1'));
    if (kind == 2) bytes[random.below(bytes.size())] = static_cast<char>('0' + random.below(75));
    return bytes;
  });
}

}  // namespace
}  // namespace flashmoe
