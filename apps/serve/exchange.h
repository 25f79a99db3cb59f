// A request of one API, understood, and how its answers are told in that API's words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "flashmoe/service.h"
#include "serve/api_error.h"
#include "serve/collected.h"

namespace flashmoe {

// What a request is answered with.
struct Asked {
  std::vector<Request> requests;  // one for each prompt
  size_t choices_per_prompt = 1;  // whose seeds count up
  bool stream = false;

  size_t n_choices() const { return requests.size() * choices_per_prompt; }
};

// What is the same for every request.
struct Served {
  std::string model_name;
  int n_parallel = 1, n_waiting = 0;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  const Asked& asked() const { return asked_; }
  virtual Api api() const = 0;

  // Not streamed: the body, from all choices.
  virtual std::string whole(const std::vector<Collected>& choices) = 0;

  // Streamed: server-sent events to write, each ended by an empty line; any may be empty.
  virtual std::string begin(int64_t prompt_tokens) = 0;
  virtual std::string event(size_t choice, const AnswerEvent& event) = 0;
  virtual std::string end() = 0;
  virtual std::string failure(const ApiError& error) = 0;

 protected:
  Asked asked_;
};

// Throws ApiError 400, naming `field`, for more choices than can run and wait together: they would never be taken.
void check_choices(int64_t n_choices, const Served& served, const char* field);
// "event: NAME\ndata: JSON\n\n"; without a name, data alone.
std::string server_sent(std::string_view name, std::string_view json);
// "chatcmpl-" and 24 random letters and digits.
std::string new_id(const char* prefix);
int64_t unix_time();
// For requests that name no seed.
uint64_t random_seed();

}  // namespace flashmoe
