#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

#include "serve/anthropic_messages.h"
#include "serve/anthropic_request.h"
#include "serve/openai_chat.h"
#include "serve/openai_chat_request.h"
#include "serve/openai_completion.h"
#include "serve/openai_responses.h"
#include "serve/openai_responses_request.h"
#include "serve/origin.h"
#include "serve/request_fields.h"

namespace flashmoe {
namespace {

const Served kServed = {"spark", 4, 64};

AnswerEvent piece(AnswerEvent::Kind kind, const std::string& text, const std::string& id = {}) {
  AnswerEvent event;
  event.kind = kind;
  event.text = text;
  event.call_id = id;
  if (!id.empty()) event.name = "f";
  return event;
}

TEST(ChatRequest, SystemTurnsAtTheStartAreOneAndToolsKeepTheirSchema) {
  const auto read = read_chat_completion_request(
      R"({"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}]},
          {"role": "user", "content": "c"}], "tools": [{"type": "function", "function": {"name": "f",
          "parameters": {"type": "object", "z": 1, "a": 2}}}], "tool_choice": {"type": "function", "function": {"name": "f"}},
          "reasoning_effort": "low", "max_completion_tokens": 5, "max_tokens": 9})");
  EXPECT_EQ(
      read.request.chat_json,
      R"({"enable_thinking":true,"reasoning_effort":"low","messages":[{"role":"system","content":"a\n\nb"},{"role":"user","content":"c"}],)"
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","z":1,"a":2}}}]})");
  EXPECT_EQ(read.request.constraint.kind, Constraint::Kind::tool_call);
  EXPECT_EQ(read.request.constraint.tool, "f");
  EXPECT_EQ(read.request.max_thinking_tokens, 512);
  EXPECT_EQ(read.request.generate.max_tokens, 5);
  EXPECT_EQ(read.request.generate.sampling.temperature, 1);
}

TEST(ChatRequest, NamesTheFieldAtFault) {
  try {
    read_chat_completion_request(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})");
    FAIL();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.param, "messages[0].content[0].type");
  }
}

// What reading the request complains about: the field and the message.
template <typename Read>
std::pair<std::string, std::string> complaint(const Read& read, const std::string& body) {
  try {
    read(body);
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return {error.param, error.what()};
  }
  ADD_FAILURE() << body << " is accepted";
  return {};
}

const auto kReadChat = [](const std::string& body) { read_chat_completion_request(body); };
const auto kReadMessages = [](const std::string& body) { read_messages_request(body, false); };

TEST(ChatRequest, ToolsHaveNamesOfTheirOwn) {
  const auto tools = [](const std::string& list) {
    return R"({"messages": [{"role": "user", "content": "x"}], "tools": [)" + list + "]}";
  };
  const auto tool = [](const std::string& name) {
    return R"({"type": "function", "function": {"name": ")" + name + R"("}})";
  };
  read_chat_completion_request(tools(tool("a") + "," + tool("mcp:b/c.d-e_f")));
  EXPECT_EQ(complaint(kReadChat, tools(tool("a") + "," + tool("a"))),
            std::pair(std::string("tools[1].function.name"),
                      std::string("tools[1].function.name: there are two tools named 'a'")));
  for (const char* name : {"", "a b", "a\\n", "<tool>", "\\u00e4"}) {
    EXPECT_EQ(complaint(kReadChat, tools(tool(name))).first, "tools[0].function.name");
  }
  EXPECT_EQ(complaint(kReadChat, tools(tool(std::string(129, 'a')))).first, "tools[0].function.name");
}

TEST(ChatRequest, OnlyAnAssistantMayLeaveItsContentOut) {
  const auto chat = [](const std::string& last) {
    return R"({"messages": [{"role": "user", "content": ""}, )" + last + "]}";
  };
  for (const char* role : {"system", "developer", "user", "tool"}) {
    for (const char* content : {R"("contents": "Hi")", R"("content": null)"}) {
      const std::string message = fmt::format(R"({{"role": "{}", "tool_call_id": "1", {}}})", role, content);
      EXPECT_EQ(complaint(kReadChat, chat(message)).first, "messages[1].content") << message;
    }
  }
  read_chat_completion_request(chat(R"({"role": "assistant"}, {"role": "user", "content": "x"})"));
  read_chat_completion_request(chat(R"({"role": "assistant", "content": null}, {"role": "user", "content": "x"})"));
}

TEST(ChatRequest, CallsOfTheHistoryHaveANameInAllApis) {
  EXPECT_EQ(complaint(kReadChat, R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant",
                                     "tool_calls": [{"id": "1", "function": {"name": ""}}]}]})"),
            std::pair(std::string("messages[1].tool_calls[0].function.name"),
                      std::string("messages[1].tool_calls[0].function.name: a string that is not empty is expected")));
  EXPECT_EQ(complaint(kReadMessages, R"({"max_tokens": 7, "messages": [{"role": "user", "content": "u"},
                                         {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "",
                                         "input": {}}]}]})")
                .first,
            "messages[1].content[0].name");
  EXPECT_EQ(complaint(read_responses_request, R"({"input": [{"role": "user", "content": "u"}, {"type":
                                                  "function_call", "call_id": "1", "name": "", "arguments": ""}]})")
                .first,
            "input[1].name");
}

TEST(ChatRequest, ComplaintsNameTheRangeAndStayShort) {
  const auto with = [](const std::string& field) {
    return R"({"messages": [{"role": "user", "content": "x"}], )" + field + "}";
  };
  EXPECT_EQ(complaint(kReadChat, with(R"("max_tokens": 0)")).second, "max_tokens: a number of 1 or more is expected");
  EXPECT_EQ(complaint(kReadChat, with(R"("max_tokens": 4294967296)")).second,
            "max_tokens: a number from 1 to 2147483647 is expected");
  EXPECT_LT(complaint(kReadChat, with("\"max_tokens\": " + std::string(100'000, '9'))).second.size(), 300U);
}

TEST(Choices, BeyondWhatRunsAndWaitsAreRefused) {
  const Served served = {"spark", 2, 3};
  const auto chat = [&](const std::string& body) { read_chat_completion(body, served); };
  const auto completion = [&](const std::string& body) { read_completion(body, served); };
  const std::string message = R"({"messages": [{"role": "user", "content": "x"}], "n": )";
  EXPECT_EQ(read_chat_completion(message + "5}", served)->asked().n_choices(), 5U);
  EXPECT_EQ(complaint(chat, message + "6}"),
            std::pair(std::string("n"), std::string("n: 6 answers are asked for, but this server takes at most 5 at "
                                                    "once (--parallel 2, --queue 3); ask for fewer")));
  EXPECT_EQ(read_completion(R"({"prompt": ["a", "b"], "n": 2})", served)->asked().n_choices(), 4U);
  EXPECT_EQ(complaint(completion, R"({"prompt": "a", "n": 6})").first, "n");
  EXPECT_EQ(complaint(completion, R"({"prompt": ["a", "b"], "n": 3})").first, "prompt");
}

TEST(RequestFields, ValuesAreCountedBeforeTheyAreRead) {
  const auto body = [](size_t n_ids) {
    std::string list;
    for (size_t i = 0; i < n_ids; ++i) list += "7,";
    return R"({"prompt": [)" + list + "7]}";
  };
  const auto completion = [](const std::string& text) { read_completion(text, kServed); };
  completion(body(262'144));
  EXPECT_EQ(complaint(completion, body(kMostJsonValues)).second,
            "the request has more than 524288 values and names; send a smaller one");
}

Json object_of(size_t n_names) {
  Json object = Json::object();
  for (size_t i = 0; i < n_names; ++i) object[std::to_string(i)] = 1;
  return object;
}

TEST(RequestFields, AnObjectHasSoManyNamesAtMost) {
  const auto with_tool = [](size_t n_names) {
    const Json function = {{"name", "f"}, {"parameters", {{"properties", object_of(n_names)}}}};
    return Json{{"messages", {{{"role", "user"}, {"content", "x"}}}},
                {"tools", {{{"type", "function"}, {"function", function}}}}};
  };
  kReadChat(with_tool(4096).dump());
  const std::string refusal = "has an object with more than 4096 names; divide it into smaller ones";
  EXPECT_EQ(complaint(kReadChat, with_tool(4097).dump()).second, "the request " + refusal);
  const auto with_call = [](size_t n_names) {
    const Json call = {{"type", "function"}, {"function", {{"name", "f"}, {"arguments", object_of(n_names).dump()}}}};
    return Json{{"messages", {{{"role", "assistant"}, {"tool_calls", Json::array({call})}}}}}.dump();
  };
  kReadChat(with_call(4096));
  const std::string field = "messages[0].tool_calls[0].function.arguments";
  EXPECT_EQ(complaint(kReadChat, with_call(4097)), std::pair(field, field + ": " + refusal));
}

// With time that grows with their square, these take half a minute.
TEST(RequestFields, ManySmallObjectsAreReadInAMoment) {
  std::string list = "[{}";
  for (int i = 0; i < 240'000; ++i) list += ",{}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_json(list + "]").size(), 240'001U);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(MessagesRequest, RefusesAnswersThatTheRequestBegins) {
  EXPECT_EQ(complaint(kReadMessages, R"({"max_tokens": 7, "messages": [{"role": "user", "content": "u"},
                                         {"role": "assistant", "content": "The answer is"}]})")
                .first,
            "messages");
}

TEST(MessagesRequest, EffortIsReadWithoutThinking) {
  EXPECT_EQ(complaint(kReadMessages, R"({"max_tokens": 7, "messages": [{"role": "user", "content": "u"}],
                                         "output_config": {"effort": "some"}})")
                .first,
            "output_config.effort");
}

TEST(MessagesRequest, BlocksBecomeTurns) {
  const auto read = read_messages_request(
      R"({"max_tokens": 7, "system": "s", "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content":
          [{"type": "thinking", "thinking": "t", "signature": ""}, {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
          {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r", "is_error": true}]}]})",
      false);
  EXPECT_EQ(
      read.request.chat_json,
      R"({"enable_thinking":false,"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},)"
      R"({"role":"assistant","content":"","reasoning_content":"t","tool_calls":[{"id":"1","type":"function",)"
      R"("function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"Error: r"}]})");
}

TEST(Responses, LogprobsAreTold) {
  AnswerEvent event = piece(AnswerEvent::Kind::content, "a");
  event.tokens = {{{5, "a", -0.5F}, {{5, "a", -0.5F}}}};
  const std::string body = R"({"input": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 1})";
  const auto streamed = read_response_request(body, kServed);
  EXPECT_EQ(streamed->asked().requests[0].n_logprobs, 1);
  streamed->begin(0);
  std::string stream = streamed->event(0, event);
  stream += streamed->event(0, AnswerEvent{});
  Collected answer;
  answer.add(event);
  const Json whole = Json::parse(read_response_request(body, kServed)->whole({answer}));
  const Json expected = Json::parse(R"([{"token": "a", "logprob": -0.5, "bytes": [97],
                                         "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]}]}])");
  EXPECT_EQ(whole["output"][0]["content"][0]["logprobs"], expected);
  size_t n_told = 0;  // in the delta, in the text's end, in the part's, in the item's, in the response
  for (size_t at = 0; (at = stream.find(dump(expected), at)) != std::string::npos; ++at) ++n_told;
  EXPECT_EQ(n_told, 5U);
  EXPECT_EQ(read_response_request(R"({"input": "x"})", kServed)->asked().requests[0].n_logprobs, -1);
}

TEST(Responses, WholeHasTheItemsOfTheStream) {
  Collected answer;
  const std::vector<AnswerEvent> events = {
      piece(AnswerEvent::Kind::thinking, "hm"), piece(AnswerEvent::Kind::content, "a"),
      piece(AnswerEvent::Kind::content, "b"), piece(AnswerEvent::Kind::tool_call, "{}", "call_1"), AnswerEvent{}};
  const auto streamed = read_response_request(R"({"input": "x", "stream": true})", kServed);
  std::string stream = streamed->begin(0);
  for (const AnswerEvent& event : events) {
    answer.add(event);
    stream += streamed->event(0, event);
  }
  const Json whole = Json::parse(read_response_request(R"({"input": "x"})", kServed)->whole({answer}));
  ASSERT_EQ(whole["output"].size(), 3U);
  EXPECT_EQ(whole["output"][1]["content"][0]["text"], "ab");
  EXPECT_EQ(whole["output"][2]["call_id"], "call_1");
  EXPECT_NE(stream.find("event: response.completed\n"), std::string::npos);
  EXPECT_NE(stream.find(R"("delta":"b")"), std::string::npos);
}

TEST(Messages, AStreamOpensAndClosesABlockForEachKind) {
  const auto exchange = read_messages(R"({"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]})", kServed);
  std::string stream = exchange->begin(3);
  for (const AnswerEvent& event :
       {piece(AnswerEvent::Kind::thinking, "hm"), piece(AnswerEvent::Kind::content, "a"),
        piece(AnswerEvent::Kind::tool_call, "{", "1"), piece(AnswerEvent::Kind::tool_call, "}"), AnswerEvent{}}) {
    stream += exchange->event(0, event);
  }
  size_t starts = 0, stops = 0;
  for (size_t at = 0; (at = stream.find("event: content_block_start\n", at)) != std::string::npos; ++at) ++starts;
  for (size_t at = 0; (at = stream.find("event: content_block_stop\n", at)) != std::string::npos; ++at) ++stops;
  EXPECT_EQ(starts, 3U);
  EXPECT_EQ(stops, 3U);
  EXPECT_NE(stream.find(R"("stop_reason":"tool_use")"), std::string::npos);
}

TEST(Origin, OnlyThisMachineAndThisServer) {
  for (const char* host :
       {"", "localhost", "LOCALHOST", "localhost.", "Localhost.:80", "localhost:80", "127.0.0.1:8080", "[::1]:8080"})
    EXPECT_TRUE(is_local_host(host));
  for (const char* host : {"evil.example", "127.0.0.1.evil.example", "localhost.evil:80"})
    EXPECT_FALSE(is_local_host(host));
  EXPECT_TRUE(is_same_origin("http://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(is_same_origin("http://localhost:8080", "LOCALHOST:8080"));
  EXPECT_FALSE(is_same_origin("http://evil.example", "localhost:8080"));
  EXPECT_FALSE(is_same_origin("null", "null"));
}

TEST(Origin, SchemesAreWordsOfEitherCase) {
  for (const char* header : {"Bearer key", "bearer key", "BEARER  key"}) EXPECT_EQ(bearer_of(header), "key");
  for (const char* header : {"", "Bearer", "Bearer ", "Basic key", "key", "Bearerkey"})
    EXPECT_EQ(bearer_of(header), "");
  EXPECT_EQ(host_of_target("http://localhost:80/v1/models?x=1"), "localhost:80");
  EXPECT_EQ(host_of_target("HTTPS://a.example?http://b/"), "a.example");
  for (const char* target : {"/http://a/", "*", "http:/a", "ftp://a/"}) EXPECT_EQ(host_of_target(target), "");
}

TEST(Origin, IsASchemeAndAHost) {
  for (const char* text : {"*", "null", "https://example.org", "http://localhost:3000"})
    EXPECT_TRUE(is_origin(text)) << text;
  for (const char* text : {"", "example.org", "://x", "https://", "https://example.org/", "https://a b"}) {
    EXPECT_FALSE(is_origin(text)) << text;
  }
}

TEST(Errors, HaveTheApisOwnShape) {
  const ApiError error(503, "full");
  EXPECT_EQ(error_json(Api::anthropic, error),
            R"({"type":"error","error":{"type":"overloaded_error","message":"full"}})");
  EXPECT_EQ(error_json(Api::openai, error),
            R"({"error":{"message":"full","type":"server_error","param":null,"code":null}})");
}

}  // namespace
}  // namespace flashmoe
