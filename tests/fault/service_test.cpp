// A drive that fails while several answers are decoded ends those that cannot go on, and no others.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <thread>

#include "engine/bound_model.h"
#include "engine/scheduler.h"
#include "flashmoe/error.h"
#include "io/read_queue.h"
#include "support/expect_error.h"
#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// Real reads, of which those of one place in the file fail.
class SpottedQueue final : public ReadQueue {
 public:
  struct Spot {
    uint64_t offset = 0;
    int n_times = 0;
  };
  explicit SpottedQueue(Spot& spot) : inner_(make_pread_queue(2)), spot_(spot) {}
  void submit(std::span<const ReadRequest> requests) override {
    for (const ReadRequest& r : requests) {
      is_spotted_[r.tag] = r.offset <= spot_.offset && spot_.offset < r.offset + r.bytes;
    }
    inner_->submit(requests);
  }
  std::span<const ReadDone> wait(bool block) override {
    const auto done = inner_->wait(block);
    done_.assign(done.begin(), done.end());
    for (ReadDone& read : done_) {
      if (is_spotted_[read.tag] && spot_.n_times > 0) --spot_.n_times, read.error = EIO;
    }
    return done_;
  }
  int pending() const override { return inner_->pending(); }
  const char* name() const override { return "spotted"; }
  int depth() const override { return inner_->depth(); }

 private:
  std::unique_ptr<ReadQueue> inner_;
  Spot& spot_;
  std::map<uint64_t, bool> is_spotted_;  // by tag
  std::vector<ReadDone> done_;
};

struct Told {
  std::vector<int32_t> ids;
  std::string error;
  bool operator==(const Told&) const = default;
};

class ServiceFault : public testing::Test {
 protected:
  ServiceFault() {
    TinyModelOptions tiny;
    tiny.with_tokenizer = true;
    tiny.n_experts = 48;
    path_ = write_tiny_model(dir_.path(), tiny);
    bound_ = bind_model(path_);
    tokenizer_ = Tokenizer::load(*bound_.checkpoint);
  }
  // A scheduler on a model of its own that streams at the floor: most picks are read again.
  class Served {
   public:
    explicit Served(ServiceFault& test, int n_waiting = 64, std::function<bool()> keep_going = {})
        : model_(test.path_, streamed(test)),
          parts_{{model_.forward(),
                  test.tokenizer_.get(),
                  model_.experts(),
                  model_.budget(),
                  KvFormat::f32,
                  512,
                  64,
                  Stats{},
                  {},
                  std::move(keep_going),
                  nullptr},
                 nullptr,
                 test.bound_.checkpoint.get(),
                 &sampled_calls_},
          scheduler_(parts_, four_at_once(n_waiting)) {}
    void add(const std::vector<int32_t>& ids, int max_tokens = 12) {
      Request request;
      request.ids = ids;
      request.generate.max_tokens = max_tokens;
      request.n_logprobs = 0;
      const auto channel = std::make_shared<AnswerChannel>();
      scheduler_.add(std::make_unique<RunningAnswer>(request, read_prompt(request, parts_), nullptr, parts_, channel));
      channels_.push_back(channel);
    }
    // What the answers that were added until the last of them had ended told.
    std::vector<Told> run() {
      std::thread thread([&] { scheduler_.run(); });
      std::vector<Told> outcomes;
      while (outcomes.size() < channels_.size()) outcomes.push_back(read(*channels_[outcomes.size()]));
      n_failed = scheduler_.stats().n_failed;
      faults = scheduler_.take_faults();
      lasting = scheduler_.stats().lasting_fault;
      scheduler_.stop();
      thread.join();
      return outcomes;
    }
    uint64_t n_failed = 0;
    std::vector<std::string> faults;
    std::string lasting;

   private:
    static ServiceOptions four_at_once(int n_waiting) {
      ServiceOptions options;
      options.n_parallel = 4;
      options.n_waiting = n_waiting;
      return options;
    }
    static LoadOptions streamed(ServiceFault& test) {
      LoadOptions options;
      options.streamed = true;
      options.queue = [&test] { return std::make_unique<SpottedQueue>(test.spot_); };
      return options;
    }
    LoadedModel model_;
    SampledCalls sampled_calls_;
    const EngineParts parts_;
    Scheduler scheduler_;
    std::deque<std::shared_ptr<AnswerChannel>> channels_;
  };
  // Answers to the prompts, decoded side by side, of as many tokens as `max_tokens` says of each, or 12.
  std::vector<Told> answer(const std::vector<std::vector<int32_t>>& prompts, const std::vector<int>& max_tokens = {}) {
    Served served(*this);
    for (size_t p = 0; p < prompts.size(); ++p) served.add(prompts[p], p < max_tokens.size() ? max_tokens[p] : 12);
    const auto told = served.run();
    n_failed_ = served.n_failed;
    return told;
  }
  static Told read(AnswerChannel& channel) {
    Told outcome;
    try {
      while (const auto event = channel.next(std::chrono::minutes(1))) {
        for (const SampledToken& sampled : event->tokens) outcome.ids.push_back(sampled.token.id);
      }
    } catch (const Error& error) {
      outcome.error = error.what();
    }
    return outcome;
  }
  void break_expert(int expert, int n_times) {
    const int last = bound_.experts.n_layers - 1;
    spot_ = {bound_.experts.at(last, expert).down.parts[0].offset, n_times};
  }
  TempDir dir_;
  std::string path_;
  BoundModel bound_;
  std::unique_ptr<Tokenizer> tokenizer_;
  SpottedQueue::Spot spot_;
  uint64_t n_failed_ = 0;
};

std::vector<std::vector<int32_t>> some_prompts() {
  std::vector<std::vector<int32_t>> prompts;
  for (int32_t p = 0; p < 3; ++p) {
    for (auto& ids = prompts.emplace_back(); ids.size() < 6;)
      ids.push_back(static_cast<int32_t>(ids.size() + 1) * (70 + p) % 300);
  }
  return prompts;
}

TEST_F(ServiceFault, AReadThatFailsForAWhileEndsNoAnswer) {
  const auto prompts = some_prompts();
  const auto right = answer(prompts);
  ASSERT_EQ(right[0].ids.size(), 12U);
  int n_hit = 0;
  for (int expert = 0; expert < bound_.experts.n_experts; expert += 3) {
    break_expert(expert, 1);
    EXPECT_EQ(answer(prompts), right) << expert;
    EXPECT_EQ(n_failed_, 0U);
    n_hit += spot_.n_times == 0 ? 1 : 0;
  }
  EXPECT_GT(n_hit, 0);
}

TEST_F(ServiceFault, WhatFailsAgainAndAgainIsToldOnce) {
  break_expert(0, 1 << 30);
  Served served(*this);
  for (int i = 0; i < 4; ++i) {
    for (const auto& prompt : some_prompts()) served.add(prompt);
  }
  served.run();
  EXPECT_GT(served.n_failed, 1U);
  ASSERT_EQ(served.faults.size(), 1U);
  EXPECT_NE(served.faults[0].find("Input/output error"), std::string::npos) << served.faults[0];
  EXPECT_EQ(served.lasting, "");
}

TEST_F(ServiceFault, AnExpertThatCannotBeReadEndsThoseWhoPickItAlone) {
  const auto prompts = some_prompts();
  int n_ended = 0, n_left = 0;
  for (int expert = 0; expert < bound_.experts.n_experts; expert += 3) {
    std::vector<Told> alone;
    for (const auto& prompt : prompts) {
      break_expert(expert, 1 << 30);
      alone.push_back(answer({prompt}).front());
    }
    break_expert(expert, 1 << 30);
    const auto together = answer(prompts);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(together[i].error.empty(), alone[i].error.empty()) << expert << " " << i;
      EXPECT_EQ(together[i].ids, alone[i].ids) << expert << " " << i;
      (alone[i].error.empty() ? n_left : n_ended) += 1;
    }
  }
  EXPECT_GT(n_ended, 0);
  EXPECT_GT(n_left, 0);
}

// Logits of who fails are no numbers; who ends in the same step has all it was to have, and others go on.
TEST_F(ServiceFault, AnAnswerThatFailsTakesNobodyAlong) {
  auto prompts = some_prompts();
  const std::vector<int> max_tokens = {1, 12, 12};
  auto right = answer(prompts, max_tokens);
  ASSERT_EQ(right[0].ids.size(), 1U);
  std::string bytes = read_bytes(path_);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const int32_t broken = prompts[1].back();
  for (const auto& ids : right) ASSERT_EQ(std::ranges::count(ids.ids, broken), 0);
  for (const size_t p : {0, 2}) ASSERT_EQ(std::ranges::count(prompts[p], broken), 0);
  const size_t row = bound_.checkpoint->find("token_embd.weight")->offset + static_cast<size_t>(broken) * 64 * 4;
  bytes.replace(row, sizeof(nan), reinterpret_cast<const char*>(&nan), sizeof(nan));
  path_ = dir_.write("broken.gguf", bytes);
  const auto told = answer(prompts, max_tokens);
  EXPECT_EQ(told[0], right[0]);
  EXPECT_TRUE(told[1].ids.empty());
  EXPECT_NE(told[1].error.find("every logit is NaN"), std::string::npos) << told[1].error;
  EXPECT_EQ(told[2], right[2]);
  EXPECT_EQ(n_failed_, 1U);
}

TEST_F(ServiceFault, TakesAsManyRequestsAsHavePlacesAndMayWait) {
  for (const int n_waiting : {0, 1, 5}) {
    Served served(*this, n_waiting);
    for (int i = 0; i < 4 + n_waiting; ++i) EXPECT_NO_THROW(served.add(some_prompts().front())) << i;
    expect_error([&] { served.add(some_prompts().front()); }, Fault::busy,
                 {"0 requests are being answered and " + std::to_string(4 + n_waiting) + " wait"});
  }
}

// The system gives no memory to the second sequence: its answer ends with that, the first goes on.
TEST_F(ServiceFault, AnAnswerThatGetsNoMemoryFailsAlone) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers take address space as they like";
#endif
  const auto child = [this] {
    std::optional<Served> served;
    bool is_short = false;
    served.emplace(*this, 4, [&] {
      if (!std::exchange(is_short, true)) {
        const rlimit none = {0, RLIM_INFINITY};
        ::setrlimit(RLIMIT_AS, &none);
        served->add(some_prompts()[1]);
      }
      return true;
    });
    served->add(some_prompts()[0]);
    const auto told = served->run();
    std::_Exit(told[0].error.empty() && told[0].ids.size() == 12 &&
                       told[1].error.find("the system has no") != std::string::npos
                   ? 0
                   : 1);
  };
  EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace flashmoe
