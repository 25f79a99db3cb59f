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
  std::unique_ptr<Answer> submit(const Request&) override { return std::make_unique<SilentAnswer>(patience); }
  int64_t count_tokens(const Request&) const override { return 0; }
  ServiceStats stats() const override { return {}; }
  std::vector<std::string> take_notes() override { return {}; }
  const Engine& engine() const override { std::abort(); }

  std::vector<milliseconds> patience;
};

TEST(Answering, WaitsForEachOfManyChoices) {
  SilentService service;
  Answering answering(service, std::vector<Request>(60));
  EXPECT_FALSE(answering.next(milliseconds(50)));
  EXPECT_EQ(service.patience, std::vector<milliseconds>(60, milliseconds(1)));
}

}  // namespace
}  // namespace flashmoe
