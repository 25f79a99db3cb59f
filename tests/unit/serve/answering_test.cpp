#include "serve/answering.h"

#include <gtest/gtest.h>

#include <vector>

namespace flashmoe {
namespace {

using std::chrono::milliseconds;

// Notes how long it was waited for.
class SilentAnswer : public Answer {
 public:
  explicit SilentAnswer(std::vector<milliseconds>& patience) : patience_(patience) {}
  std::optional<AnswerEvent> next(milliseconds patience) override {
    patience_.push_back(patience);
    return {};
  }
  void cancel() override {}
  bool finished() const override { return false; }

 private:
  std::vector<milliseconds>& patience_;
};

class SilentService : public Service {
 public:
  TraceSize stop() override { return {}; }
  std::unique_ptr<Answer> submit(const Request& request) override {
    seeds.push_back(request.generate.sampling.seed);
    return std::make_unique<SilentAnswer>(patience);
  }
  int64_t count_tokens(const Request&) const override { return 0; }
  ServiceStats stats() const override { return {}; }
  std::vector<std::string> take_notes() override { return {}; }
  std::vector<std::string> take_faults() override { return {}; }
  const Engine& engine() const override { std::abort(); }

  std::vector<milliseconds> patience;
  std::vector<uint64_t> seeds;
};

TEST(Answering, ChoicesOfAPromptHaveSeedsOfTheirOwn) {
  SilentService service;
  Asked asked;
  asked.requests.resize(2);
  asked.requests[1].generate.sampling.seed = 7;
  asked.choices_per_prompt = 3;
  const Answering answering(service, asked);
  EXPECT_EQ(service.seeds, (std::vector<uint64_t>{0, 1, 2, 7, 8, 9}));
}

TEST(Answering, WaitsForEachOfManyChoices) {
  SilentService service;
  Asked asked;
  asked.requests.resize(30);
  asked.choices_per_prompt = 2;
  Answering answering(service, asked);
  EXPECT_FALSE(answering.next(milliseconds(50)));
  EXPECT_EQ(service.patience, std::vector<milliseconds>(60, milliseconds(1)));
}

}  // namespace
}  // namespace flashmoe
