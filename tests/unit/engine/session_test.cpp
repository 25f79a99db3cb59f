#include "flashmoe/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

class SessionTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> open(int context_tokens = 64) {
    TinyModelOptions tiny;
    tiny.with_tokenizer = true;
    EngineOptions options;
    options.model_path = write_tiny_model(dir_.path(), tiny);
    options.n_threads = 2;
    options.context_tokens = context_tokens;
    options.keep_going = [this] { return --layers_left_ >= 0; };
    return Engine::open(options);
  }
  static Fault fault_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.fault();
    }
    ADD_FAILURE() << "nothing was thrown";
    return Fault::io;
  }

  TempDir dir_;
  int64_t layers_left_ = 1 << 30;  // until keep_going says no
  const std::vector<int32_t> ids_ = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
};

TEST_F(SessionTest, RefusesPromptsThatCannotBe) {
  const auto engine = open(16);
  const auto session = engine->new_session();
  EXPECT_EQ(fault_of([&] { session->prefill({}); }), Fault::input);
  EXPECT_EQ(fault_of([&] { session->prefill(std::vector<int32_t>{1, 1 << 20}); }), Fault::input);
  EXPECT_EQ(fault_of([&] { session->prefill(std::vector<int32_t>{-1}); }), Fault::input);
  EXPECT_EQ(fault_of([&] { session->prefill(std::vector<int32_t>(17, 1)); }), Fault::input);
  EXPECT_EQ(fault_of([&] { session->generate({}); }), Fault::usage);
  session->prefill(std::vector<int32_t>(16, 1));  // none of this spoiled the session
  EXPECT_EQ(session->n_tokens(), 16);
}

TEST_F(SessionTest, FillsTheContextToTheLastToken) {
  const auto engine = open(24);
  const auto session = engine->new_session();
  session->prefill(ids_);
  const Generation answer = session->generate({});
  if (answer.reason == StopReason::context_full) {
    EXPECT_EQ(answer.ids.size(), 14U);
    EXPECT_EQ(session->n_tokens(), 24);
    const Generation more = session->generate({});  // nothing left to give
    EXPECT_EQ(more.reason, StopReason::context_full);
    EXPECT_TRUE(more.ids.empty());
  } else {
    EXPECT_EQ(answer.reason, StopReason::end_of_turn);
  }
}

TEST_F(SessionTest, AContinuedConversationEqualsOnePrompt) {
  const auto engine = open();
  GenerateOptions few;
  few.max_tokens = 3;
  std::vector<int32_t> whole = ids_, answer;
  {
    const auto session = engine->new_session();
    session->prefill(ids_);
    const auto first = session->generate(few);
    whole.insert(whole.end(), first.ids.begin(), first.ids.end());
    whole.push_back(42);
    session->prefill(std::vector<int32_t>{42});
    EXPECT_EQ(session->n_tokens(), static_cast<int64_t>(whole.size()));
    answer = session->generate(few).ids;
  }
  const auto session = engine->new_session();
  session->prefill(whole);
  EXPECT_EQ(session->generate(few).ids, answer);
}

TEST_F(SessionTest, GoesOnWhereMaxTokensStoppedIt) {
  const auto engine = open();
  GenerateOptions three, six;
  three.max_tokens = 3;
  six.max_tokens = 6;
  std::vector<int32_t> parts, whole;
  {
    const auto session = engine->new_session();
    session->prefill(ids_);
    parts = session->generate(three).ids;
    const auto rest = session->generate(three).ids;
    parts.insert(parts.end(), rest.begin(), rest.end());
  }
  const auto session = engine->new_session();
  session->prefill(ids_);
  EXPECT_EQ(session->generate(six).ids, parts);
}

TEST_F(SessionTest, GoesOnWhereOnTextStoppedIt) {
  const auto engine = open();
  GenerateOptions six;
  six.max_tokens = 6;
  std::vector<int32_t> parts, whole;
  {
    const auto session = engine->new_session();
    session->prefill(ids_);
    whole = session->generate(six).ids;
  }
  const auto session = engine->new_session();
  session->prefill(ids_);
  const Generation first = session->generate(six, [](std::string_view) { return false; });
  ASSERT_EQ(first.reason, StopReason::interrupted);
  ASSERT_LT(first.ids.size(), 6U);
  parts = first.ids;
  six.max_tokens -= static_cast<int>(parts.size());
  const auto rest = session->generate(six).ids;
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(parts, whole);
}

TEST_F(SessionTest, OptionsThatAreRefusedLeaveItAsItWas) {
  const auto engine = open();
  const auto session = engine->new_session();
  session->prefill(ids_);
  GenerateOptions options;
  options.sampling.top_p = 2;
  EXPECT_EQ(fault_of([&] { session->generate(options); }), Fault::usage);
  options.sampling.top_p = 1;
  options.max_tokens = 1;
  EXPECT_NO_THROW(session->generate(options));
}

TEST_F(SessionTest, TheSameSeedGivesTheSameText) {
  const auto engine = open();
  const auto sample = [&](uint64_t seed) {
    const auto session = engine->new_session();
    session->prefill(ids_);
    GenerateOptions options;
    options.max_tokens = 20;
    options.sampling.temperature = 2;
    options.sampling.seed = seed;
    return session->generate(options).ids;
  };
  std::set<std::vector<int32_t>> answers;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    answers.insert(sample(seed));
    EXPECT_EQ(sample(seed), sample(seed));
  }
  EXPECT_GT(answers.size(), 1U);
}

TEST_F(SessionTest, AnInterruptionInPrefillEndsTheSession) {
  const auto engine = open();
  auto session = engine->new_session();
  layers_left_ = 2;
  EXPECT_EQ(fault_of([&] { session->prefill(ids_); }), Fault::interrupted);
  layers_left_ = 1 << 30;
  EXPECT_EQ(fault_of([&] { session->prefill(ids_); }), Fault::usage);
  EXPECT_EQ(fault_of([&] { session->generate({}); }), Fault::usage);
  session.reset();
  session = engine->new_session();
  session->prefill(ids_);
}

TEST_F(SessionTest, AnInterruptedAnswerIsKept) {
  const auto engine = open();
  GenerateOptions options;
  options.max_tokens = 20;
  options.sampling.temperature = 2;
  for (;; ++options.sampling.seed) {  // until an answer does not end by itself
    const auto session = engine->new_session();
    session->prefill(ids_);
    if (session->generate(options).reason == StopReason::max_tokens) break;
  }
  const auto session = engine->new_session();
  session->prefill(ids_);
  layers_left_ = 4 * 5 + 1;  // five tokens of four layers, and one layer of the sixth
  const Generation answer = session->generate(options);
  EXPECT_EQ(answer.reason, StopReason::interrupted);
  EXPECT_EQ(answer.ids.size(), 6U);
  EXPECT_GT(session->stats().decode.tokens, 0U);
  layers_left_ = 1 << 30;
  EXPECT_EQ(fault_of([&] { session->generate(options); }), Fault::usage) << "a step ended half-way";
}

TEST_F(SessionTest, LogitsEqualThoseOfPrefill) {
  const auto engine = open();
  std::vector<std::vector<float>> rows;
  {
    const auto session = engine->new_session();
    session->logits(ids_, [&](int64_t row, std::span<const float> logits) {
      EXPECT_EQ(row, static_cast<int64_t>(rows.size()));
      rows.emplace_back(logits.begin(), logits.end());
    });
  }
  ASSERT_EQ(rows.size(), ids_.size());
  const auto session = engine->new_session();
  session->prefill(ids_);
  GenerateOptions one;
  one.max_tokens = 1;
  const auto best = std::max_element(rows.back().begin(), rows.back().end()) - rows.back().begin();
  const Generation answer = session->generate(one);
  if (!answer.ids.empty()) {
    EXPECT_EQ(answer.ids[0], best);
  } else {
    EXPECT_EQ(answer.reason, StopReason::end_of_turn);
  }
}

TEST_F(SessionTest, OneSessionLivesAtATime) {
  const auto engine = open();
  const auto session = engine->new_session();
  EXPECT_EQ(fault_of([&] { engine->new_session(); }), Fault::usage);
}

}  // namespace
}  // namespace flashmoe
