// The built-in model behind a Service, and what its answers tell.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flashmoe/error.h"
#include "flashmoe/service.h"

namespace flashmoe {

using std::chrono::milliseconds;

inline constexpr milliseconds kPatience{300'000};

struct Told {
  std::string thinking, content, arguments, name, call_id;
  std::vector<SampledToken> tokens;
  uint64_t n_reading = 0;
  AnswerEvent done;
};

inline Told read_all(Answer& answer) {
  Told told;
  while (auto event = answer.next(kPatience)) {
    told.tokens.insert(told.tokens.end(), event->tokens.begin(), event->tokens.end());
    switch (event->kind) {
      case AnswerEvent::Kind::waiting:
        break;
      case AnswerEvent::Kind::reading:
        ++told.n_reading;
        break;
      case AnswerEvent::Kind::thinking:
        told.thinking += event->text;
        break;
      case AnswerEvent::Kind::content:
        told.content += event->text;
        break;
      case AnswerEvent::Kind::tool_call:
        if (!event->name.empty()) told.name = event->name, told.call_id = event->call_id;
        told.arguments += event->text;
        break;
      case AnswerEvent::Kind::done:
        told.done = *event;
    }
  }
  EXPECT_TRUE(answer.finished());
  return told;
}

class ServiceTest : public testing::Test {
 protected:
  std::unique_ptr<Service> start(const ServiceOptions& options = {}, std::function<bool()> keep_going = {},
                                 uint64_t ram_bytes = 0) {
    EngineOptions engine;
    engine.ram_bytes = ram_bytes;
    engine.lend = ram_bytes == 0;  // what is lent to the experts of so small a model would hold them all
    engine.keep_going = std::move(keep_going);
    engine.model_path = FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf";
    engine.n_threads = 2;
    engine.context_tokens = 4096;
    engine.learn = false;
    return Service::start(Engine::open(engine), options);
  }
  // With hardly more memory than it needs, so that experts are streamed. What this process holds counts, too, and a
  // sanitizer gives some of it back every few seconds: a limit that was too low may then do for all experts.
  std::unique_ptr<Service> start_streamed(const std::function<bool()>& keep_going) {
    constexpr uint64_t kLeast = 16 << 20, kStep = 4 << 20;
    for (uint64_t ram_bytes = kLeast;; ram_bytes += kStep) {
      try {
        auto service = start({}, keep_going, ram_bytes);
        if (!service->engine().memory_plan().experts_resident) return service;
        ram_bytes = kLeast;
      } catch (const Error& error) {
        if (error.fault() != Fault::memory_floor) throw;
      }
    }
  }
  static Request chat(const std::string& text, int max_tokens = 40, const std::string& more = "") {
    Request request;
    request.chat_json = nlohmann::json{{"messages", {{{"role", "user"}, {"content", text}}}}}.dump();
    if (!more.empty()) request.chat_json.insert(1, more + ",");
    request.generate.max_tokens = max_tokens;
    return request;
  }
};

}  // namespace flashmoe
