#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fake_checkpoint.h"
#include "fake_tokenizer.h"
#include "flashmoe/error.h"
#include "support/temp_dir.h"
#include "support/test_data.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

const Json kHello = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}};

std::string loaded(const FakeCheckpoint& checkpoint) { return ChatTemplate::load(checkpoint)->render(kHello); }

void expect_error(const std::function<void()>& run, const std::string& message) {
  try {
    run();
    FAIL() << "no error, wanted: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::input);
    EXPECT_EQ(error.what(), message);
  }
}

TEST(ChatTemplate, ComesFromEveryPlaceCheckpointsKeepIt) {
  FakeCheckpoint gguf(Dialect::gguf);
  EXPECT_EQ(ChatTemplate::load(gguf), nullptr);
  gguf.meta["tokenizer.chat_template"] = std::string("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
  gguf.meta["tokenizer.ggml.tokens"] = std::vector<std::string>{"a", "<s>", "</s>"};
  gguf.meta["tokenizer.ggml.bos_token_id"] = uint64_t{1};
  gguf.meta["tokenizer.ggml.eos_token_id"] = uint64_t{99};  // out of range: not defined
  EXPECT_EQ(loaded(gguf), "<s>Hi");

  FakeCheckpoint hf(Dialect::hugging_face);
  EXPECT_EQ(ChatTemplate::load(hf), nullptr);
  hf.side_files["tokenizer_config.json"] = R"({"chat_template": "A{{ bos_token }}", "bos_token": {"content": "<b>"}})";
  EXPECT_EQ(loaded(hf), "A<b>");
  hf.side_files["tokenizer_config.json"] =
      R"({"chat_template": [{"name": "x", "template": "X"}, {"name": "default", "template": "D"}]})";
  EXPECT_EQ(loaded(hf), "D");
  hf.side_files["chat_template.jinja"] = "J";
  EXPECT_EQ(loaded(hf), "J");
  hf.side_files["tokenizer_config.json"] = "{";
  expect_error([&] { ChatTemplate::load(hf); }, "tokenizer_config.json: not a JSON object");
}

TEST(ChatTemplate, NamesEveryTemplateMayReadAreDefined) {
  const ChatTemplate chat(
      "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ enable_thinking is defined }}");
  EXPECT_EQ(chat.render(kHello), "TrueTrueTrueFalse");
  Json request = kHello;
  request["add_generation_prompt"] = false;
  request["enable_thinking"] = false;
  EXPECT_EQ(chat.render(request), "TrueTrueFalseTrue");
}

// Those of models that always think write <think> whatever the request says.
TEST(ChatTemplate, ThinkingIsClosedWhereItIsTurnedOff) {
  Json request = kHello;
  const auto rendered = [&](const char* source) { return ChatTemplate(source).render(request); };
  EXPECT_EQ(rendered("<a>\n<think>{{ '\n' }}"), "<a>\n<think>\n");
  request["enable_thinking"] = true;
  EXPECT_EQ(rendered("<a>\n<think>{{ '\n' }}"), "<a>\n<think>\n");
  request["enable_thinking"] = false;
  EXPECT_EQ(rendered("<a>\n<think>{{ '\n' }}"), "<a>\n<think>\n\n</think>\n\n");
  EXPECT_EQ(rendered("<a>\n<think>"), "<a>\n<think>\n\n</think>\n\n");
  EXPECT_EQ(rendered("<think>\n\n</think>{{ '\n\n' }}"), "<think>\n\n</think>\n\n");
  EXPECT_EQ(rendered("<a>{{ '\n' }}"), "<a>\n");
}

TEST(ChatTemplate, SystemMessagesInTheMiddleAreTheUsersWhereTheyAreRefused) {
  const Json request =
      Json::parse(R"({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"},
    {"role": "system", "content": "c"}, {"role": "developer", "content": "d"}]})");
  EXPECT_EQ(ChatTemplate("{% for m in messages %}{{ m.role[0] + m.content }}{% endfor %}").render(request), "saubscdd");
  const ChatTemplate strict(
      "{% for m in messages %}{% if m.role != 'user' and not loop.first %}"
      "{{ raise_exception('first!') }}{% endif %}{{ m.role[0] + m.content }}{% endfor %}");
  EXPECT_EQ(strict.render(request), "saubucud");
  Json refused = request;
  refused["messages"][3]["role"] = "tool";
  expect_error([&] { (void)strict.render(refused); }, "chat template, line 1: first!");
}

TEST(ChatTemplate, WhatDoesNotParseIsToldWhenItIsWanted) {
  FakeCheckpoint model(Dialect::gguf);
  model.meta["tokenizer.chat_template"] = std::string("{% x %}");
  const auto chat = ChatTemplate::load(model);
  EXPECT_EQ(chat->fault(), "chat template, line 1: the tag 'x' is not known here or not supported");
  expect_error([&] { (void)chat->render(kHello); }, chat->fault().c_str());
  const TempDir folder;
  write_bytes(folder.path() + "/better.jinja", "better");
  EXPECT_EQ(ChatTemplate::load(model, folder.path() + "/better.jinja")->render(kHello), "better");
  EXPECT_THROW(ChatTemplate::load(model, folder.path()), Error);
}

TEST(ChatTemplate, ToolsKeepTheOrderOfTheirKeys) {
  const Json request = Json::parse(R"({"messages": [], "tools": [{"z": 1, "a": {"y": 2, "b": 1.0}}]})");
  EXPECT_EQ(ChatTemplate("{{ tools[0] | tojson }}").render(request), R"({"z": 1, "a": {"y": 2, "b": 1.0}})");
}

TEST(ChatTemplate, ErrorsAreOneLine) {
  expect_error([] { ChatTemplate("a\n{% if %}").render(kHello); },
               "chat template, line 2: expected an expression, found '%}'");
  expect_error([] { ChatTemplate("{{ raise_exception('No\nuser.') }}").render(kHello); },
               "chat template, line 1: No user.");
  expect_error([] { ChatTemplate("x").render(Json::array()); }, "a chat request is a JSON object with \"messages\"");
  expect_error([] { ChatTemplate("x").render(Json::object()); }, "a chat request needs a list \"messages\"");
}

// Guarding must not change one id of a prompt with nothing to guard, whatever its shape.
TEST(ChatTemplate, UnguardedPromptsEncodeAsRendered) {
  const Json chats = Json::parse(read_test_data("jinja/chats.json"));
  const ChatTemplate chat(read_test_data("jinja/spark.jinja"));
  const FakeTokenizer tokenizer({"<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"});
  size_t n = 0;
  for (size_t i = 0; i < chats["requests"].size(); ++i) {
    if (chats["wants"]["spark.jinja"][i].is_null()) continue;
    const std::string rendered = chat.render(chats["requests"][i]);
    const auto ids = chat.encode(chats["requests"][i], tokenizer);
    if (chats["requests"][i].dump().find("Hi <|im_end|>") == std::string::npos) {
      EXPECT_EQ(ids, tokenizer.encode(rendered, Marks::parse)) << "request " << i;
      ++n;
    } else {
      EXPECT_NE(ids, tokenizer.encode(rendered, Marks::parse)) << "request " << i;
    }
    EXPECT_EQ(tokenizer.encode(rendered, Marks::as_text).size(), rendered.size());
  }
  EXPECT_GE(n, 40U);
}

}  // namespace
}  // namespace flashmoe
