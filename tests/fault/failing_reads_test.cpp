// A disk that fails while experts stream from it.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "experts/streamed.h"
#include "flashmoe/error.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

class FailingReads : public testing::TestWithParam<uint32_t> {
 protected:
  FailingReads()
      : experts_(make_fake_experts(Layout::gate_up, 4, 8, 3)),
        source_(
            make_streamed(experts_, streamed_sizes(experts_.table, GetParam()).floor_bytes, GetParam(), 9, budget_)) {}

  // The message, or "" when all picks arrived and were right.
  std::string try_layer(int layer, const std::vector<int32_t>& picks) {
    Lease lease = source_->acquire(layer, picks);
    try {
      EXPECT_TRUE(all_arrive(experts_, layer, picks, lease));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::io);
      return error.what();
    }
    return "";
  }
  const ExpertRecord& record(int layer, int expert) const { return experts_.table.at(layer, expert); }
  void fail_expert(int layer, int expert, int error, int n_times) {
    const Extent& down = record(layer, expert).down.parts[0];
    experts_.disk->fail_at(static_cast<int>(down.file), down.offset + down.bytes / 2, error, n_times);
  }

  Budget budget_;
  FakeExperts experts_;
  std::unique_ptr<ExpertSource> source_;
};

TEST_P(FailingReads, TheMessageNamesExpertMatrixFileAndOffset) {
  fail_expert(1, 4, EIO, kAlways);
  const std::string message = try_layer(1, {2, 4, 6});
  for (const std::string& part : {std::string("layer 1"), std::string("expert 4"), std::string("down"),
                                  experts_.files[record(1, 4).down.parts[0].file]->path(), std::string("offset "),
                                  std::string("Input/output error"), std::string("3 tries")}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is missing in: " << message;
  }
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST_P(FailingReads, AfterAnErrorTheSourceStillWorksAndReadsAgain) {
  for (int round = 0; round < 20; ++round) {
    fail_expert(0, 3, EIO, kAlways);
    EXPECT_NE(try_layer(0, {3, 1, 2}), "");
    EXPECT_NE(try_layer(0, {0, 1, 3}), "") << "a failed expert was taken for a valid one";
    EXPECT_EQ(try_layer(1, {3, 1, 2}), "");
    experts_.disk->heal();
    EXPECT_EQ(try_layer(0, {3, 1, 2}), "");
    for (int layer = 1; layer < 4; ++layer) EXPECT_EQ(try_layer(layer, {4, 5, 6}), "");
  }
}

TEST_P(FailingReads, WaitThrowsForTheFailedPickOnly) {
  fail_expert(3, 7, EIO, kAlways);
  const std::vector<int32_t> picks = {6, 7};
  Lease lease = source_->acquire(3, picks);
  EXPECT_THROW(lease.wait(1), Error);
  EXPECT_TRUE(same_as_on_disk(experts_, 3, 6, lease.wait(0)));
  EXPECT_THROW(lease.wait(1), Error);
}

TEST_P(FailingReads, ARetryWorksWhileTheFailedLeaseIsStillHeld) {
  fail_expert(3, 7, EIO, 1);
  const std::vector<int32_t> picks = {7};
  Lease failed = source_->acquire(3, picks);
  EXPECT_THROW(failed.wait(0), Error);
  Lease again = source_->acquire(3, picks);
  EXPECT_TRUE(same_as_on_disk(experts_, 3, 7, again.wait(0)));
  EXPECT_THROW(failed.wait(0), Error);
}

TEST_P(FailingReads, OtherErrorsAreReportedAtOnce) {
  fail_expert(1, 1, EBADF, 1);
  const std::string message = try_layer(1, {1});
  EXPECT_NE(message.find("Bad file descriptor"), std::string::npos) << message;
  EXPECT_EQ(try_layer(1, {1}), "");
}

TEST_P(FailingReads, AFileThatWasCutIsToldApart) {
  const Extent& down = record(1, 7).down.parts[0];
  experts_.disk->truncate(static_cast<int>(down.file), down.offset + 100);
  const std::string message = try_layer(1, {7});
  EXPECT_NE(message.find("the file ends before"), std::string::npos) << message;
}

TEST_P(FailingReads, AbandonedLeasesNeverHarmWhatFollows) {
  for (int round = 0; round < 200; ++round) {
    if (round % 7 == 0) fail_expert(round % 4, round % 8, EIO, 1);
    { Lease abandoned = source_->acquire(round % 4, std::vector<int32_t>{round % 8, (round + 3) % 8}); }
    if (round % 7 == 0) {
      // Whether the failure meets the abandoned lease or this one: it is told, or everything is right.
      static_cast<void>(try_layer(round % 4, {round % 8, (round + 1) % 8, (round + 2) % 8}));
      experts_.disk->heal();
    }
    ASSERT_EQ(try_layer((round + 1) % 4, {round % 8, (round + 1) % 8, (round + 2) % 8}), "");
  }
}

TEST_P(FailingReads, LeavingWithReadsInFlightIsSafe) {
  fail_expert(0, 0, EIO, kAlways);
  { Lease lease = source_->acquire(0, std::vector<int32_t>{0, 1, 2}); }
  source_.reset();
  EXPECT_EQ(budget_.used(Allotted::expert_cache), 0u);
}

INSTANTIATE_TEST_SUITE_P(Alignment, FailingReads, testing::Values(1u, 4096u));

}  // namespace
}  // namespace flashmoe
