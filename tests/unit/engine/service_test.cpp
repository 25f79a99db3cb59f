#include "flashmoe/service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "flashmoe/error.h"
#include "support/expect_error.h"
#include "support/service_case.h"

namespace flashmoe {
namespace {

const std::string kTools =
    R"([{"type":"function","function":{"name":"close_order","description":"Close an order",)"
    R"("parameters":{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}}}])";
const std::string kCloseOrder = "Close order BB668296004UL.";

TEST_F(ServiceTest, AnswersWithReasoningAndContentApart) {
  const auto service = start();
  const Told told = read_all(*service->submit(chat("Hello, who are you?", 0)));
  EXPECT_EQ(told.done.reason, StopReason::end_of_turn);
  EXPECT_FALSE(told.content.empty());
  EXPECT_EQ((told.thinking + told.content).find("think>"), std::string::npos);
  EXPECT_GT(told.n_reading, 0U);
  EXPECT_EQ(told.done.usage.prompt_tokens, service->count_tokens(chat("Hello, who are you?")));
  EXPECT_GT(told.done.usage.answer_tokens, told.done.usage.thinking_tokens);
  const ServiceStats stats = service->stats();  // whoever sees the end finds it counted
  EXPECT_EQ(stats.n_requests, 1U);
  EXPECT_EQ(stats.prompt_tokens, static_cast<uint64_t>(told.done.usage.prompt_tokens));
  EXPECT_EQ(stats.answer_tokens, static_cast<uint64_t>(told.done.usage.answer_tokens));
  EXPECT_GT(stats.decode_s, 0);
}

TEST_F(ServiceTest, AnswersSideBySideEqualThoseAlone) {
  const std::vector<std::string> questions = {"Hello!", "What is the capital of France?", "Count to ten.",
                                              "Tell me about " + std::string(600, 'x') + ".", "Who are you?"};
  const auto requests = [&] {
    std::vector<Request> all;
    for (const std::string& question : questions) {
      all.push_back(chat(question, 48));
      all.back().n_logprobs = 2;
      all.back().generate.sampling.temperature = 1;
      all.back().generate.sampling.seed = all.size();
    }
    return all;
  }();
  std::vector<Told> alone, beside;
  const auto service = start();
  for (const Request& request : requests) alone.push_back(read_all(*start()->submit(request)));
  std::vector<std::unique_ptr<Answer>> answers;
  for (const Request& request : requests) answers.push_back(service->submit(request));
  for (const auto& answer : answers) beside.push_back(read_all(*answer));
  for (size_t i = 0; i < alone.size(); ++i) {
    ASSERT_EQ(alone[i].tokens.size(), beside[i].tokens.size()) << i;
    EXPECT_EQ(alone[i].thinking + alone[i].content, beside[i].thinking + beside[i].content);
    for (size_t t = 0; t < alone[i].tokens.size(); ++t) {
      EXPECT_EQ(alone[i].tokens[t].token.id, beside[i].tokens[t].token.id);
      EXPECT_EQ(alone[i].tokens[t].token.logprob, beside[i].tokens[t].token.logprob) << i << " " << t;
      ASSERT_EQ(beside[i].tokens[t].likeliest.size(), 2U);
      EXPECT_GE(beside[i].tokens[t].likeliest[0].logprob, beside[i].tokens[t].likeliest[1].logprob);
    }
  }
}

// An expert that several prompts pick is read once for all of them.
TEST_F(ServiceTest, PromptsThatWaitTogetherAreReadInOneStep) {
  std::atomic<bool> loaded = false, all_there = false;
  std::atomic<int> n_layers = 0;  // begun
  const auto service = start({}, [&] {
    if (loaded) ++n_layers;
    while (loaded && !all_there) std::this_thread::sleep_for(milliseconds(1));  // within the first one's step
    return true;
  });
  loaded = true;
  const auto layers_of = [&](int n_prompts) {
    all_there = false;
    n_layers = 0;
    std::vector<std::unique_ptr<Answer>> answers;
    for (int i = 0; i < n_prompts; ++i) {
      Request request;  // not a chat, which would be read on while nobody asks
      request.ids.assign(static_cast<size_t>(5 + i), 100 + i);
      request.generate.max_tokens = 1;
      answers.push_back(service->submit(request));
    }
    all_there = true;
    for (const auto& answer : answers) read_all(*answer);
    return n_layers.load();
  };
  const int of_one_step = layers_of(1);
  EXPECT_GT(of_one_step, 0);
  EXPECT_LE(layers_of(4), 2 * of_one_step);
}

// A prompt that comes a moment after the first is read with it, where experts are streamed.
TEST_F(ServiceTest, PromptsThatComeInOneMomentShareAStep) {
  std::atomic<int> n_layers = 0;  // begun
  const auto service = start_streamed([&] { return ++n_layers > 0; });
  ASSERT_FALSE(service->engine().memory_plan().experts_resident);
  const auto submit = [&](size_t n_tokens) {
    Request request;
    request.ids.assign(n_tokens, 100);
    request.generate.max_tokens = 1;
    return service->submit(request);
  };
  n_layers = 0;
  read_all(*submit(5));
  const int of_one_step = n_layers;
  ASSERT_GT(of_one_step, 0);
  // A busy machine may take longer than a moment between the two.
  for (int tried = 0, counted = 0; counted < 10 && tried < 1000; ++tried) {
    n_layers = 0;
    const auto start = std::chrono::steady_clock::now();
    const auto first = submit(5);
    std::this_thread::sleep_for(milliseconds(1));
    const auto second = submit(6);
    const bool in_time = std::chrono::steady_clock::now() - start < milliseconds(5);
    read_all(*first);
    read_all(*second);
    if (!in_time) continue;
    ++counted;
    EXPECT_EQ(n_layers, of_one_step);
  }
}

TEST_F(ServiceTest, CallsATool) {
  const auto service = start();
  const Told told = read_all(*service->submit(chat(kCloseOrder, 0, R"("tools":)" + kTools)));
  EXPECT_TRUE(told.done.called_tools);
  EXPECT_EQ(told.name, "close_order");
  EXPECT_EQ(told.call_id.substr(0, 5), "call_");
  EXPECT_EQ(told.arguments, R"({"id":"BB668296004UL"})");
}

TEST_F(ServiceTest, AFullQueueIsBusy) {
  ServiceOptions options;
  options.n_parallel = 1;
  options.n_waiting = 1;
  const auto service = start(options);
  const auto first = service->submit(chat("Count to a thousand.", 3000));
  while (first->next(kPatience)->kind == AnswerEvent::Kind::waiting) {
  }
  const auto second = service->submit(chat("Hello!", 4));
  expect_error([&] { service->submit(chat("Hello!", 4)); }, Fault::busy, {"try again later"});
  EXPECT_EQ(service->stats().n_refused, 1U);
  first->cancel();
  EXPECT_EQ(read_all(*second).done.usage.answer_tokens, 4);
}

TEST_F(ServiceTest, WhoSeesAnAnswerEndFindsItsPlaceFree) {
  ServiceOptions options;
  options.n_parallel = 1;
  options.n_waiting = 0;
  const auto service = start(options);
  for (int i = 0; i < 200; ++i) {
    read_all(*service->submit(chat("Hello", 1)));  // Error{busy} if the one before still counts
    ASSERT_EQ(service->stats().n_running, 0);
  }
}

TEST_F(ServiceTest, RefusesWhatCannotBeAnswered) {
  const auto service = start();
  Request request;
  expect_error([&] { service->submit(request); }, Fault::input, {"the prompt is empty"});
  request.chat_json = "{";
  expect_error([&] { service->submit(request); }, Fault::input, {"not valid JSON"});
  request = {};
  request.ids.assign(4096, 1);  // leave no room for an answer
  expect_error([&] { service->submit(request); }, Fault::input, {"the context holds 4096"});
  EXPECT_THROW(service->submit(request), ContextExceeded);
  request = chat("Hello!");
  request.generate.sampling.top_p = 2;
  expect_error([&] { service->submit(request); }, Fault::usage, {"top_p"});
  request = chat("Hello!");
  request.constraint.kind = Constraint::Kind::tool_call;
  expect_error([&] { service->submit(request); }, Fault::input, {"there are no tools"});
}

TEST_F(ServiceTest, ClosesReasoningThatIsTooLong) {
  const auto service = start();
  Request request = chat("Hello, who are you?", 60);
  request.max_thinking_tokens = 3;
  const Told told = read_all(*service->submit(request));
  EXPECT_FALSE(told.content.empty());
  EXPECT_LE(told.done.usage.thinking_tokens, 3 + 3);  // and the tokens that close it
  request.max_thinking_tokens = 0;
  EXPECT_TRUE(read_all(*service->submit(request)).thinking.empty());
}

TEST_F(ServiceTest, ObeysAConstraint) {
  const auto service = start();
  Request request = chat("Hello!", 400, R"("enable_thinking":false)");
  request.constraint.kind = Constraint::Kind::json_schema;
  request.constraint.schema =
      R"({"type":"object","properties":{"a":{"enum":[1,2]}},"required":["a"],"additionalProperties":false})";
  const Told told = read_all(*service->submit(request));
  const auto json = nlohmann::json::parse(told.content);
  EXPECT_TRUE(json["a"] == 1 || json["a"] == 2) << told.content;
  request = chat("Hello!", 400, R"("enable_thinking":false,"tools":)" + kTools);
  request.constraint.kind = Constraint::Kind::tool_call;
  EXPECT_EQ(read_all(*service->submit(request)).name, "close_order");
}

// At this temperature the model often ends its turn in the middle of its reasoning.
TEST_F(ServiceTest, ReasoningThatEndsTheTurnIsFollowedByWhatIsDemanded) {
  const auto service = start();
  int n_ended = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    Request request = chat("Give me a person as JSON", 600);
    request.generate.sampling.temperature = 2;
    request.generate.sampling.seed = seed;
    request.constraint.kind = Constraint::Kind::json_schema;
    request.constraint.schema =
        R"({"type":"object","properties":{"a":{"enum":[1,2]}},"required":["a"],"additionalProperties":false})";
    const Told told = read_all(*service->submit(request));
    if (told.done.reason == StopReason::max_tokens) continue;
    ++n_ended;
    const auto json = nlohmann::json::parse(told.content, nullptr, false);
    EXPECT_TRUE(json.is_object() && json.contains("a")) << "seed " << seed << ": " << told.content;
  }
  EXPECT_GT(n_ended, 8);
}

TEST_F(ServiceTest, StopTextsEndTheContent) {
  const auto service = start();
  Request request = chat("Hello, who are you?", 0, R"("enable_thinking":false)");
  const Told whole = read_all(*service->submit(request));
  ASSERT_GT(whole.content.size(), 8U);
  request.generate.stop = {whole.content.substr(5, 3)};
  const Told cut = read_all(*service->submit(request));
  EXPECT_EQ(cut.done.reason, StopReason::stop_text);
  EXPECT_EQ(cut.done.stop_text, request.generate.stop.front());
  EXPECT_EQ(cut.content, whole.content.substr(0, whole.content.find(request.generate.stop.front())));
}

// Thinking is not part of what a later prompt repeats, and calls are written anew by the template: both are read as
// history before the next turn comes.
TEST_F(ServiceTest, TheNextTurnFindsTheAnswerKnown) {
  const auto expect_known = [&](const std::string& tools, const nlohmann::json& question, const nlohmann::json& next) {
    const auto service = start();  // where no other answer waits to be read
    nlohmann::json messages = {question};
    const auto request = [&] {
      Request made;
      made.chat_json = nlohmann::json{{"messages", messages}}.dump();
      if (!tools.empty()) made.chat_json.insert(1, "\"tools\":" + tools + ",");
      made.generate.max_tokens = 300;
      return made;
    };
    const auto settled_before = service->stats().settled_tokens;
    const Told first = read_all(*service->submit(request()));
    ASSERT_EQ(first.done.reason, StopReason::end_of_turn);
    nlohmann::json reply = {{"role", "assistant"}, {"content", first.content}};
    if (!first.name.empty()) {
      reply["tool_calls"] = {{{"id", first.call_id},
                              {"type", "function"},
                              {"function", {{"name", first.name}, {"arguments", first.arguments}}}}};
    }
    messages.push_back(reply);
    const int64_t history = service->count_tokens(request());
    messages.push_back(next);
    for (int i = 0; i < 600 && service->stats().settled_tokens == settled_before; ++i) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    const Told second = read_all(*service->submit(request()));
    EXPECT_GE(second.done.usage.cached_tokens, history - 12);  // 12: the opening of an answer
    const Told fresh = read_all(*start()->submit(request()));
    EXPECT_EQ(fresh.done.usage.cached_tokens, 0);
    EXPECT_EQ(second.thinking + second.content, fresh.thinking + fresh.content);
  };
  expect_known("", {{"role", "user"}, {"content", "Write a long text about the sea, please. " + std::string(150, 'x')}},
               {{"role", "user"}, {"content", "Now one about the mountains."}});
  expect_known(kTools, {{"role", "user"}, {"content", kCloseOrder}},
               {{"role", "tool"}, {"tool_call_id", "call_1"}, {"content", "closed"}});
}

// What the template does not use takes memory as well.
TEST_F(ServiceTest, AnswersToHugeRequestsAreNotKeptToBeSettled) {
  const auto service = start();
  const auto settles = [&](size_t n_unused, milliseconds patience) {
    const auto settled_before = service->stats().settled_tokens;
    Request asked =
        chat("Write a long text about the sea, please. " + std::string(150, 'x') + std::to_string(n_unused), 300);
    asked.chat_json.insert(1, "\"unused\":\"" + std::string(n_unused, 'u') + "\",");
    read_all(*service->submit(asked));
    for (; patience > milliseconds(0) && service->stats().settled_tokens == settled_before;
         patience -= milliseconds(10)) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    return service->stats().settled_tokens > settled_before;
  };
  EXPECT_FALSE(settles(1 << 20, milliseconds(500)));
  EXPECT_TRUE(settles(1 << 10, milliseconds(60'000)));
}

TEST_F(ServiceTest, WhoComesWhileAnAnswerIsSettledDoesNotWaitForIt) {
  const auto service = start();
  const Request long_one = chat("Describe this: " + std::string(2500, 'x'), 300);
  const Told whole = read_all(*service->submit(long_one));
  for (int i = 0; i < 4; ++i) {
    const Told other = read_all(*service->submit(chat("Hello! " + std::to_string(i), 8)));
    EXPECT_EQ(other.done.usage.answer_tokens, 8);
  }
  const Told again = read_all(*service->submit(long_one));
  EXPECT_EQ(again.content, whole.content);
  EXPECT_EQ(service->stats().n_failed, 0U);
}

TEST_F(ServiceTest, TheEndInterruptsWhatIsRunning) {
  auto service = start();
  const auto answer = service->submit(chat("Count to a thousand.", 3000));
  service.reset();
  const auto drain = [&] {
    while (answer->next(kPatience)) {
    }
  };
  expect_error([&] { drain(); }, Fault::interrupted, {"shut down"});
}

}  // namespace
}  // namespace flashmoe
