#include "chat/completion_stream.h"

#include <gtest/gtest.h>

#include "chat/server_metrics.h"
#include "chat/sse.h"
#include "support/expect_error.h"

namespace flashmoe {
namespace {

using Kind = AnswerEvent::Kind;

TEST(SseTest, AnyPiecesGiveTheSameEvents) {
  const std::string text =
      ": hello\r\ndata: one\r\n\r\nevent: x\ndata: two\ndata: lines\n\n:bye\n\ndata:three\n\ndata: open";
  for (size_t n = 1; n < 12; ++n) {
    std::string events;
    SseParser parser([&](std::string_view data) { events += "<" + std::string(data) + ">"; },
                     [&](std::string_view comment) { events += "(" + std::string(comment) + ")"; });
    for (size_t at = 0; at < text.size(); at += n) parser.add(std::string_view(text).substr(at, n));
    EXPECT_EQ(events, "(hello)<one><two\nlines>(bye)<three>");
  }
}

TEST(SseTest, AnEventWithoutEndIsRefused) {
  SseParser parser([](std::string_view) {}, [](std::string_view) {});
  const std::string piece(1 << 20, 'x');
  expect_error(
      [&] {
        for (int i = 0; i < 20; ++i) parser.add(piece);
      },
      Fault::input, {"without end"});
}

class CompletionStreamTest : public testing::Test {
 protected:
  std::vector<AnswerEvent> events_;
  CompletionStream stream_{[this](AnswerEvent event) { events_.push_back(std::move(event)); }};
};

TEST_F(CompletionStreamTest, TextThoughtsAndUsage) {
  stream_.comment("waiting behind 2 requests");
  stream_.comment("reading 128 of 512 tokens");
  stream_.comment("keep-alive");
  stream_.data(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})");
  stream_.data(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})");
  stream_.data(R"({"choices":[{"delta":{"content":"Hi"},"finish_reason":null}],"usage":null})");
  stream_.data(R"({"choices":[{"delta":{},"finish_reason":"length"}]})");
  stream_.data(
      R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}},
          "timings":{"first_token_ms":250.0,"predicted_ms":1500}})");
  stream_.data("[DONE]");
  stream_.end();
  ASSERT_EQ(events_.size(), 4U);
  EXPECT_EQ(events_[0].kind, Kind::reading);
  EXPECT_EQ(events_[0].done, 128U);
  EXPECT_EQ(events_[0].total, 512U);
  EXPECT_EQ(events_[1].kind, Kind::thinking);
  EXPECT_EQ(events_[2].text, "Hi");
  EXPECT_EQ(events_[3].kind, Kind::done);
  EXPECT_EQ(events_[3].reason, StopReason::max_tokens);
  EXPECT_EQ(events_[3].usage.prompt_tokens, 9);
  EXPECT_EQ(events_[3].usage.answer_tokens, 7);
  EXPECT_EQ(events_[3].usage.cached_tokens, 4);
  EXPECT_DOUBLE_EQ(events_[3].usage.ttft_s, 0.25);
  EXPECT_DOUBLE_EQ(events_[3].usage.decode_s, 1.5);
}

TEST_F(CompletionStreamTest, ToolCallsInPieces) {
  stream_.data(
      R"({"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"bash","arguments":""}}]}}]})");
  stream_.data(R"({"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]})");
  stream_.data(R"({"choices":[{"delta":{},"finish_reason":"tool_calls"}]})");
  stream_.end();
  ASSERT_EQ(events_.size(), 3U);
  EXPECT_EQ(events_[0].call_id + events_[0].name, "abash");
  EXPECT_EQ(events_[1].text, "{}");
  EXPECT_TRUE(events_[2].called_tools);
}

TEST_F(CompletionStreamTest, WhatGoesWrong) {
  expect_error([&] { stream_.data("not json"); }, Fault::input, {"not JSON"});
  expect_error([&] { stream_.data(R"({"error":{"message":"out of luck"}})"); }, Fault::io, {"out of luck"});
  expect_error([&] { stream_.data(R"({"choices":[{"delta":{"tool_calls":[{"index":-1}]}}]})"); }, Fault::input,
               {"calls"});
  stream_.data(R"({"choices":[{"delta":{"content":"half"}}]})");
  expect_error([&] { stream_.end(); }, Fault::io, {"middle of the answer"});
  for (const char* odd : {"{}", R"({"choices":3})", R"({"choices":[{"delta":[]}]})", R"({"usage":[1]})",
                          R"({"choices":[{"delta":{"content":3,"tool_calls":{}}}]})", R"({"choices":["x"]})"}) {
    stream_.data(odd);  // nothing in it
  }
  EXPECT_EQ(events_.size(), 1U);
}

TEST(ServerErrorTest, MessagesOfSeveralShapes) {
  EXPECT_EQ(server_error(404, R"({"error":{"message":"no such path"}})"), "the server answered 404: no such path");
  EXPECT_EQ(server_error(500, R"({"error":"broken"})"), "the server answered 500: broken");
  EXPECT_EQ(server_error(502, "<html>"), "the server answered 502: <html>");
  EXPECT_EQ(server_error(503, ""), "the server answered 503");
}

TEST(ServerMetricsTest, HitsAndMisses) {
  const char* text =
      "# HELP flashmoe_cache_hits_total Picks in memory\n# TYPE flashmoe_cache_hits_total counter\n"
      "flashmoe_cache_hits_total 30\r\nflashmoe_cache_misses_total{layer=\"a\"} 1e1\nother_value 3\n";
  const auto stats = read_metrics(text);
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->cache.hits, 30U);
  EXPECT_EQ(stats->cache.misses, 10U);
  EXPECT_FALSE(read_metrics("flashmoe_cache_hits_total 3\n"));
  EXPECT_FALSE(read_metrics("flashmoe_cache_hits_total x\nflashmoe_cache_misses_total -1\n"));
  EXPECT_NE(metrics_text(text).find("cache_misses_total{layer=\"a\"}"), std::string::npos);
  EXPECT_EQ(metrics_text(text).find("other_value"), std::string::npos);
}

}  // namespace
}  // namespace flashmoe
