// Who answers: the engine in this process, or a server.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flashmoe/options.h"
#include "flashmoe/service.h"
#include "flashmoe/stats.h"

namespace flashmoe {

class Backend {
 public:
  virtual ~Backend() = default;
  // `request_json`: OpenAI-shaped messages, tools and enable_thinking. Throws Error as Service::submit does.
  virtual std::unique_ptr<Answer> ask(const std::string& request_json, const GenerateOptions& generate) = 0;
  virtual std::string model() const = 0;
  // Of the engine, all answers together; nothing where it cannot be asked.
  virtual std::optional<Stats> stats() = 0;
  // For /stats.
  virtual std::string stats_text() = 0;
  // What went wrong beside the answers since the last call, one line each.
  virtual std::vector<std::string> take_notes() { return {}; }
};

// Opens and loads the model. What was read is remembered while it lives.
std::unique_ptr<Backend> start_local_backend(const EngineOptions& options, ServiceOptions service);

// `url`: http://HOST[:PORT] of a flashmoe serve, or another server with /v1/chat/completions. Asks it for its model;
// Throws Error{usage} for a URL that is none, Error{io} when nobody answers there, Error{input} when the key is wrong.
std::unique_ptr<Backend> connect_backend(const std::string& url, const std::string& api_key);

}  // namespace flashmoe
