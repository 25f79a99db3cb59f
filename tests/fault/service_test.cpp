// A drive that fails while several answers are decoded ends those that cannot go on, and no others.
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <thread>

#include "engine/scheduler.h"
#include "flashmoe/error.h"
#include "io/read_queue.h"
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
  // Answers to the prompts, decoded side by side.
  std::vector<Told> answer(const std::vector<std::vector<int32_t>>& prompts) {
    LoadOptions options;
    options.streamed = true;  // at the floor: most picks are read again
    options.queue = [&] { return std::make_unique<SpottedQueue>(spot_); };
    LoadedModel model(path_, options);
    SampledCalls sampled_calls;
    const EngineParts parts = {{model.forward(),
                                tokenizer_.get(),
                                model.experts(),
                                model.budget(),
                                KvFormat::f32,
                                512,
                                64,
                                Stats{},
                                {},
                                {},
                                nullptr},
                               nullptr,
                               bound_.checkpoint.get(),
                               &sampled_calls};
    ServiceOptions service;
    service.n_parallel = 4;
    Scheduler scheduler(parts, service);
    std::vector<std::shared_ptr<AnswerChannel>> channels;
    for (const auto& ids : prompts) {
      Request request;
      request.ids = ids;
      request.generate.max_tokens = 12;
      request.n_logprobs = 0;
      channels.push_back(std::make_shared<AnswerChannel>());
      scheduler.add(
          std::make_unique<RunningAnswer>(request, read_prompt(request, parts), nullptr, parts, channels.back()));
    }
    std::thread thread([&] { scheduler.run(); });
    std::vector<Told> outcomes;
    for (const auto& channel : channels) outcomes.push_back(read(*channel));
    n_failed_ = scheduler.stats().n_failed;
    scheduler.stop();
    thread.join();
    return outcomes;
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

}  // namespace
}  // namespace flashmoe
