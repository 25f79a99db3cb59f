#include "engine/chat_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flashmoe/engine.h"
#include "support/expect_error.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

// What a client that called a tool sends on: OpenAI's API has a call's arguments as text.
Json history(const Json& arguments) {
  const Json call = {{"id", "c"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", arguments}}}};
  const Json messages = {{{"role", "user"}, {"content", "Call it"}},
                         {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({call})}},
                         {{"role", "tool"}, {"tool_call_id", "c"}, {"content", "1"}}};
  return {{"messages", messages}};
}

TEST(ChatRequest, ArgumentsOfCallsAreObjects) {
  const Json object = Json::parse(R"({"z": 1, "a": {"b": "x"}})");
  EXPECT_EQ(parse_chat_request(history(object).dump()), history(object));
  EXPECT_EQ(parse_chat_request(history(object.dump()).dump()), history(object));
  EXPECT_EQ(parse_chat_request(history("").dump()), history(Json::object()));
  Json bare = history(object.dump()), read = history(object);
  for (Json* chat : {&bare, &read}) {
    Json& call = (*chat)["messages"][1]["tool_calls"][0];
    call = Json(call["function"]);
  }
  EXPECT_EQ(parse_chat_request(bare.dump()), read);
  for (const char* text : {"[1]", "1", "{\"x\": 1", "x"}) {
    expect_error([&] { parse_chat_request(history(text).dump()); }, Fault::input,
                 {"the arguments of a tool call are not a JSON object", text});
  }
}

TEST(ChatRequest, WhatHoldsNoCallsIsLeftAlone) {
  for (const char* text :
       {"[]", "1", R"({"messages": 1})",
        R"({"messages": [1, {"tool_calls": 1}, {"tool_calls": [1, {"function": 1}]}]})",
        R"({"messages": [{"tool_calls": [{"function": {"arguments": 1}}, {"arguments": null}]}]})"}) {
    EXPECT_EQ(parse_chat_request(text), Json::parse(text));
  }
  expect_error([] { parse_chat_request("{"); }, Fault::input, {"not valid JSON"});
}

TEST(ChatRequest, ExcessIsRefusedAlsoInArguments) {
  Json wide = Json::object();
  for (int i = 0; i < 4097; ++i) wide[std::to_string(i)] = 1;
  const std::string deep = "{\"x\":" + std::string(100, '[') + std::string(100, ']') + "}";
  for (const Json& arguments : {wide, Json(wide.dump())}) {
    expect_error([&] { parse_chat_request(history(arguments).dump()); }, Fault::input,
                 {"the chat request has an object with more than 4096 names"});
  }
  for (const Json& arguments : {Json::parse(deep), Json(deep)}) {
    expect_error([&] { parse_chat_request(history(arguments).dump()); }, Fault::input,
                 {"the chat request is nested more than 100 levels deep"});
  }
}

TEST(ChatRequest, APromptIsTheSameForArgumentsAsTextAndAsAnObject) {
  EngineOptions options;
  options.model_path = FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf";
  const auto engine = Engine::open(options);
  const Json object = {{"x", 1}};
  EXPECT_EQ(engine->chat_prompt(history(object.dump()).dump()), engine->chat_prompt(history(object).dump()));
}

}  // namespace
}  // namespace flashmoe
