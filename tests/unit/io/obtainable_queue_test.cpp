#include "io/obtainable_queue.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "support/expect_error.h"
#include "support/fake_read_queue.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

// A system that refuses queues deeper than these.
struct Limits {
  int deepest_ring = 0, most_threads = 0;
  std::vector<std::pair<ReadEngine, int>> asked = {};

  std::unique_ptr<ReadQueue> operator()(ReadEngine engine, int depth) {
    asked.emplace_back(engine, depth);
    if (depth > (engine == ReadEngine::uring ? deepest_ring : most_threads)) {
      fail(Fault::unsupported, "no {} (limit {}): because; do something",
           engine == ReadEngine::uring ? "ring" : "thread", depth);
    }
    return std::make_unique<FakeReadQueue>(std::make_shared<FakeDisk>(), 1, 0, depth);
  }
};

TEST(ObtainableQueue, WhatIsWantedIsAskedForFirstAndNothingElse) {
  Limits limits{64, 16};
  const ObtainableQueue got = obtain_queue(ReadEngine::uring, 64, true, std::ref(limits));
  EXPECT_EQ(got.queue->depth(), 64);
  EXPECT_EQ(got.refusal, "");
  EXPECT_EQ(limits.asked.size(), 1u);
}

TEST(ObtainableQueue, AShallowerRingComesBeforeThreads) {
  Limits limits{20, 16};
  const ObtainableQueue got = obtain_queue(ReadEngine::uring, 64, true, std::ref(limits));
  EXPECT_EQ(got.queue->depth(), 16);
  EXPECT_EQ(limits.asked.back().first, ReadEngine::uring);
  EXPECT_EQ(got.refusal, "no ring (limit 64)");
}

TEST(ObtainableQueue, ThreadsReadWhereNoRingIsToBeHad) {
  Limits limits{4, 5};
  const ObtainableQueue got = obtain_queue(ReadEngine::uring, 64, true, std::ref(limits));
  EXPECT_EQ(got.queue->depth(), 4);
  EXPECT_EQ(limits.asked.back().first, ReadEngine::pread);
  EXPECT_EQ(got.refusal, "no ring (limit 64)");
}

TEST(ObtainableQueue, FewThreadsAreBetterThanNone) {
  Limits limits{64, 1};
  const ObtainableQueue got = obtain_queue(ReadEngine::pread, 8, true, std::ref(limits));
  EXPECT_EQ(got.queue->depth(), 1);
  EXPECT_EQ(got.refusal, "no thread (limit 8)");
}

TEST(ObtainableQueue, WithoutAnyThreadWhoWaitsReads) {
  Limits limits{0, 0};
  EXPECT_NE(obtain_queue(ReadEngine::uring, 32, true, std::ref(limits)).queue, nullptr);
  EXPECT_EQ(limits.asked.back(), std::pair(ReadEngine::pread, 0));

  const TempDir folder;
  const auto file = open_file(folder.write("f", "abcdefgh"));
  const auto queue = make_pread_queue(0);
  EXPECT_EQ(queue->depth(), 1);
  EXPECT_TRUE(queue->wait(true).empty());
  std::string text(4, '.');
  std::vector<ReadRequest> requests;
  for (uint64_t i = 0; i < 4; ++i) {
    requests.push_back({file->buffered_fd(), 2 * i, 1, 1, reinterpret_cast<std::byte*>(&text[i]), i});
  }
  queue->submit(requests);
  EXPECT_TRUE(queue->wait(false).empty());
  for (uint64_t i = 0; i < 4; ++i) {
    const auto done = queue->wait(true);
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].tag, i);
    EXPECT_EQ(done[0].error, 0);
  }
  EXPECT_EQ(queue->pending(), 0);
  EXPECT_EQ(text, "aceg");
}

TEST(ObtainableQueue, WhoWantsRingsOnlyGetsTheDeepestOrTheFirstRefusal) {
  Limits shallow{3, 16}, none{0, 16};
  EXPECT_EQ(obtain_queue(ReadEngine::uring, 32, false, std::ref(shallow)).queue->depth(), 2);
  expect_error([&] { obtain_queue(ReadEngine::uring, 32, false, std::ref(none)); }, Fault::unsupported,
               {"no ring (limit 32)"});
  EXPECT_EQ(none.asked.back(), std::pair(ReadEngine::uring, 1));
}

// The real makers under a real limit.
TEST(ObtainableQueue, WithoutADescriptorLeftThreadsRead) {
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none = {0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const ObtainableQueue got = obtain_queue(ReadEngine::uring, 32, true);
  std::string refusal;
  try {
    obtain_queue(ReadEngine::uring, 32, false);
  } catch (const Error& error) {
    refusal = error.what();
  }
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_STREQ(got.queue->name(), "pread");
  EXPECT_NE(got.refusal, "");
  EXPECT_NE(refusal, "");
}

}  // namespace
}  // namespace flashmoe
