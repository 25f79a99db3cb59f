// Answers that nobody waits for any more.
#include <gtest/gtest.h>

#include <thread>

#include "support/expect_error.h"
#include "support/service_case.h"

namespace flashmoe {
namespace {

TEST_F(ServiceTest, ACancelledAnswerStopsAndOthersGoOn) {
  const auto service = start();
  const auto dropped = service->submit(chat("Count to a thousand.", 3000));
  const auto other = service->submit(chat("Hello!", 8));
  while (dropped->next(kPatience)->kind != AnswerEvent::Kind::thinking) {
  }
  dropped->cancel();
  const auto drain = [&] {
    while (dropped->next(kPatience)) {
    }
  };
  expect_error([&] { drain(); }, Fault::interrupted, {"cancelled"});
  EXPECT_TRUE(dropped->finished());
  EXPECT_EQ(read_all(*other).done.usage.answer_tokens, 8);
  EXPECT_EQ(service->stats().n_cancelled, 1U);
}

// A chunk may be long: it is given up between two layers when nobody waits for it any more.
TEST_F(ServiceTest, ACancelledPromptIsNotReadToItsEnd) {
  const auto read_long_prompt = [&] {
    const auto service = start();
    Request request;
    request.ids.assign(2000, 100);
    request.generate.max_tokens = 1;
    read_all(*service->submit(request));
    return service->stats().prefill_s;
  };
  const auto cancelled_in_time = [&](double whole_s) {  // the step may end before this thread gets to run
    const auto service = start();
    Request request;
    request.ids.assign(2000, 100);
    const auto dropped = service->submit(request);
    while (true) {
      const auto event = dropped->next(kPatience);
      if (event->kind == AnswerEvent::Kind::reading && event->done > 0) break;
    }
    dropped->cancel();
    const auto drain = [&] {
      while (dropped->next(kPatience)) {
      }
    };
    expect_error([&] { drain(); }, Fault::interrupted, {"cancelled"});
    EXPECT_EQ(read_all(*service->submit(chat("Hello!", 4))).done.usage.answer_tokens, 4);
    return service->stats().prefill_s < 0.5 * whole_s;
  };
  // Beside other programs, one of the two may be slowed down alone.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  bool in_time = false;
  while (!in_time && std::chrono::steady_clock::now() < deadline) in_time = cancelled_in_time(read_long_prompt());
  EXPECT_TRUE(in_time);
}

// At whatever moment they are cancelled, while they wait, are read or are decoded.
TEST_F(ServiceTest, EveryCancelledAnswerEndsAndIsCounted) {
  ServiceOptions options;
  options.n_parallel = 2;
  const auto service = start(options);
  uint64_t n_cancelled = 0;
  for (int round = 0; round < 100; ++round) {
    std::vector<std::unique_ptr<Answer>> answers;
    for (int i = 0; i < 4; ++i) answers.push_back(service->submit(chat("Count to ten.", 20)));
    std::this_thread::sleep_for(std::chrono::microseconds(37 * round));
    for (const auto& answer : answers) answer->cancel();
    for (const auto& answer : answers) {
      try {
        read_all(*answer);
      } catch (const Error& error) {
        ASSERT_EQ(error.fault(), Fault::interrupted);
        ++n_cancelled;
      }
      ASSERT_TRUE(answer->finished());
      ASSERT_GE(service->stats().n_cancelled, n_cancelled);
    }
  }
  EXPECT_GT(n_cancelled, 100U);
  EXPECT_EQ(service->stats().n_cancelled, n_cancelled);
  EXPECT_EQ(read_all(*service->submit(chat("Hello!", 4))).done.usage.answer_tokens, 4);
}

}  // namespace
}  // namespace flashmoe
