#include "engine/sampled_calls.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"
#include "support/test_data.h"
#include "text/chat_template.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpelled =
    "I look.\n\n<tool_call>\n<function=f>\n<parameter=x>\n1.0\n</parameter>\n</function>\n</tool_call>";

Json message_of(const std::string& arguments, const std::string& id = "call_1", const Json& content = "I look.") {
  return {{"role", "assistant"},
          {"content", content},
          {"tool_calls",
           {{{"id", id}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", Json::parse(arguments)}}}}}}};
}

Json chat_of(const Json& message) {
  return {{"messages", {{{"role", "user"}, {"content", "Look"}}, message, {{"role", "tool"}, {"content", "1"}}}}};
}

bool restores(SampledCalls& calls, const Json& message) {
  const Json chat = chat_of(message), restored = calls.restored(chat);
  if (restored == chat) return false;
  EXPECT_EQ(restored["messages"][1], (Json{{"role", "assistant"}, {"content", kSpelled}}));
  EXPECT_EQ(restored["messages"][0], chat["messages"][0]);
  EXPECT_EQ(restored["messages"][2], chat["messages"][2]);
  return true;
}

TEST(SampledCalls, KnowACallWhateverJsonMadeOfIt) {
  SampledCalls calls;
  calls.keep(message_of(R"({"x":1.0,"y":{"b":[1,2.5],"a":"z"}})"), kSpelled);
  EXPECT_TRUE(restores(calls, message_of(R"({"x":1.0,"y":{"b":[1,2.5],"a":"z"}})")));
  EXPECT_TRUE(restores(calls, message_of(R"({"y":{"a":"\u007a","b":[1.0,25e-1]},"x":1})")));
  EXPECT_TRUE(restores(calls, message_of(R"({"x":1,"y":{"b":[1,2.5],"a":"z"}})", "call_1", "\nI look.\n")));
}

// A template that writes calls as JSON shows the words that were sampled, whatever their white space.
TEST(SampledCalls, KeepTheWordsOfJsonCalls) {
  const std::string spelled = "<tool_call>\n{\"name\":\"f\",\n \"arguments\":{\"x\": 1.0}}\n</tool_call>";
  const ChatTemplate chat(read_test_data("jinja/hermes_tools.jinja"));
  const Json request = chat_of(message_of(R"({"x":1})", "call_1", ""));
  const auto shown = [&](const std::string& words) {
    return "<|im_start|>user\nLook<|im_end|>\n<|im_start|>assistant\n" + words +
           "<|im_end|>\n<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n<|im_start|>assistant\n";
  };
  SampledCalls calls;
  EXPECT_EQ(chat.render(calls.restored(request)),
            shown("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>"));
  calls.keep(message_of(R"({"x":1.0})", "call_1", ""), spelled);
  EXPECT_EQ(chat.render(calls.restored(request)), shown(spelled));
}

TEST(SampledCalls, LeaveWhatWasChanged) {
  SampledCalls calls;
  calls.keep(message_of(R"({"x":1.0})"), kSpelled);
  EXPECT_FALSE(restores(calls, message_of(R"({"x":2})")));
  EXPECT_FALSE(restores(calls, message_of(R"({"x":"1.0"})")));
  EXPECT_FALSE(restores(calls, message_of(R"({"x":1,"y":2})")));
  EXPECT_FALSE(restores(calls, message_of(R"({"x":1})", "call_2")));
  EXPECT_FALSE(restores(calls, message_of(R"({"x":1})", "call_1", "I do not look.")));
  EXPECT_FALSE(restores(calls, message_of(R"({"x":1})", "call_1", nullptr)));
  Json renamed = message_of(R"({"x":1})"), twice = renamed;
  renamed["tool_calls"][0]["function"]["name"] = "g";
  EXPECT_FALSE(restores(calls, renamed));
  twice["tool_calls"].push_back(twice["tool_calls"][0]);
  EXPECT_FALSE(restores(calls, twice));
}

TEST(SampledCalls, TakeAnyRequest) {
  SampledCalls calls;
  calls.keep(message_of(R"({"x":1.0})"), kSpelled);
  for (const char* text :
       {"null", "[]", R"({"messages":1})", R"({"messages":[1,null,[]]})",
        R"({"messages":[{"role":1,"tool_calls":[1]}]})", R"({"messages":[{"role":"assistant","tool_calls":[]}]})",
        R"({"messages":[{"role":"assistant","tool_calls":[1]}]})",
        R"({"messages":[{"role":"assistant","content":[1],"tool_calls":[{"id":"call_1"}]}]})",
        R"({"messages":[{"role":"assistant","tool_calls":[{"id":"call_1","function":[]}]}]})",
        R"({"messages":[{"role":"assistant","tool_calls":[{"id":"call_1","function":{"name":"f"}}]}]})"}) {
    const Json chat = Json::parse(text);
    EXPECT_EQ(calls.restored(chat), chat) << text;
  }
}

TEST(SampledCalls, HoldTheLatestOfABoundedNumberOfBytes) {
  SampledCalls calls;
  const std::string spelled(100'000, 'x');
  for (int i = 0; i < 40; ++i) calls.keep(message_of(R"({"x":1})", "call_" + std::to_string(i)), spelled);
  int known = 0;
  for (int i = 0; i < 40; ++i) {
    const Json chat = chat_of(message_of(R"({"x":1})", "call_" + std::to_string(i)));
    const bool is_known = calls.restored(chat) != chat;
    EXPECT_TRUE(is_known || known == 0);
    known += is_known ? 1 : 0;
  }
  EXPECT_EQ(known, SampledCalls::kMostBytes / (2 * spelled.size()));
}

TEST(SampledCalls, OutliveTheirProcessInAFolder) {
  const TempDir dir;
  const std::string path = dir / "sessions";
  {
    SessionFolder folder(path, 1 << 20, "model a");
    SampledCalls calls;
    calls.keep(message_of(R"({"x":1.0})"), kSpelled);
    calls.keep(message_of(R"({"x":3.0})", "call_2"), "other");
    EXPECT_TRUE(calls.save_one(folder));
    EXPECT_TRUE(calls.save_one(folder));
    EXPECT_FALSE(calls.save_one(folder));
    EXPECT_TRUE(restores(calls, message_of(R"({"x":1})")));
    EXPECT_TRUE(calls.save_one(folder));  // that it was used
    EXPECT_FALSE(calls.save_one(folder));
  }
  SessionFolder folder(path, 1 << 20, "model a");
  SampledCalls calls;
  calls.recall(folder.scan(), folder);
  EXPECT_TRUE(restores(calls, message_of(R"({"x":1})")));
  EXPECT_FALSE(restores(calls, message_of(R"({"x":2})")));
  EXPECT_FALSE(calls.save_one(folder) && calls.save_one(folder));
  SessionFolder other(path, 1 << 20, "model b");
  SampledCalls none;
  none.recall(other.scan(), other);
  EXPECT_FALSE(restores(none, message_of(R"({"x":1})")));
}

TEST(SampledCalls, AreKeptInMemoryWhereTheFolderTakesNone) {
  const TempDir dir;
  SessionFolder folder(dir / "sessions", 10, "model a");
  SampledCalls calls;
  calls.keep(message_of(R"({"x":1.0})"), kSpelled);
  EXPECT_FALSE(calls.save_one(folder));
  EXPECT_FALSE(calls.save_one(folder));
  EXPECT_TRUE(restores(calls, message_of(R"({"x":1})")));
}

}  // namespace
}  // namespace flashmoe
