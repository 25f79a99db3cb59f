#include "engine/session_store.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/bytes.h"
#include "engine/bound_model.h"
#include "kernels/kernels.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// Conversations that have no room in memory, and little on disk.
class SessionStoreTest : public testing::Test {
 protected:
  SessionStoreTest() : model_(bind_model(write_tiny_model(dir_.path(), {}))) {
    for (int what = 0; what < kAllottedCount; ++what) budget_.allot(static_cast<Allotted>(what), kGiB);
    budget_.allot(Allotted::sessions, 0);
    sequence_ = std::make_unique<Sequence>(model_.family->config(), KvFormat::f16, 512, budget_);
  }
  static std::vector<int32_t> ids(int32_t first) {
    std::vector<int32_t> all(kDeltaChunk);
    std::iota(all.begin(), all.end(), first);
    return all;
  }
  void keep(SessionStore& store, int32_t first) {
    sequence_->kv().reserve_positions(kDeltaChunk);
    sequence_->set_n_tokens(kDeltaChunk, 0);
    store.keep(ids(first), *sequence_);
  }

  TempDir dir_;
  BoundModel model_;
  Budget budget_;
  DeltaBlocks blocks_;
  std::unique_ptr<Sequence> sequence_;
};

TEST_F(SessionStoreTest, ForgetsWhatTheFolderRemoved) {
  uint64_t each = 0;  // bytes on disk of a conversation
  {
    SessionStore store(blocks_, budget_, std::make_unique<SessionFolder>(dir_ / "all", kGiB, "m"));
    keep(store, 0);
    each = store.folder()->bytes();
  }
  ASSERT_GT(each, 0U);
  SessionStore store(blocks_, budget_, std::make_unique<SessionFolder>(dir_ / "some", 5 * each / 2, "m"));
  for (int32_t first = 0; first < 100; ++first) {
    keep(store, first);
    EXPECT_TRUE(store.knows(ids(first)));
    for (int32_t other = 0; other < first; ++other) EXPECT_EQ(store.knows(ids(other)), other == first - 1) << first;
    EXPECT_LE(store.n_stretches(), 3U);
  }
}

}  // namespace
}  // namespace flashmoe
