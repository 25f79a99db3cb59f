// A server's engine, through its /v1/chat/completions.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "chat/backend.h"
#include "chat/completion_stream.h"
#include "chat/conversation.h"
#include "chat/server_client.h"
#include "chat/server_metrics.h"
#include "chat/sse.h"
#include "flashmoe/error.h"

namespace flashmoe {
namespace {

constexpr int kUsualPort = 80, kMostPort = 65535;
constexpr int kConnectSeconds = 10;
constexpr int kSilenceSeconds = 600;  // a long prompt may be read without a word
constexpr auto kStopAgain = std::chrono::milliseconds(50);
constexpr size_t kMostErrorBytes = 4096;
constexpr size_t kMostBodyBytes = 4U << 20U;  // of what is no stream of events

struct Server {
  std::string origin, host;
  int port = kUsualPort;
  std::string prefix, api_key;

  httplib::Headers headers() const {
    return api_key.empty() ? httplib::Headers{} : httplib::Headers{{"Authorization", "Bearer " + api_key}};
  }
  std::unique_ptr<ServerClient> client() const {
    auto client = std::make_unique<ServerClient>(host, port);
    client->set_connection_timeout(kConnectSeconds);
    client->set_read_timeout(kSilenceSeconds);
    client->set_write_timeout(kSilenceSeconds);
    return client;
  }
};

// "host", "host:8080", "[::1]:8080".
bool read_host(std::string_view text, Server& server) {
  const size_t bracket = text.starts_with('[') ? 1 : 0;
  const size_t end = bracket == 1 ? text.find(']') : std::min(text.find(':'), text.size());
  if (end == std::string_view::npos || end == bracket) return false;
  server.host = text.substr(bracket, end - bracket);
  text.remove_prefix(end + bracket);
  if (text.empty()) return true;
  const char* last = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data() + 1, last, server.port);
  return text[0] == ':' && error == std::errc() && read == last && server.port > 0 && server.port <= kMostPort;
}

Server parse_url(const std::string& url, const std::string& api_key) {
  if (url.starts_with("https://")) {
    throw Error(Fault::usage, fmt::format("--connect {}: connections are not encrypted here; give http:// and another "
                                          "machine's port through a tunnel, as ssh -L makes one",
                                          url));
  }
  const size_t host = url.starts_with("http://") ? std::strlen("http://") : url.size();
  const size_t path = std::min(url.find('/', host), url.size());
  Server server;
  if (!read_host(std::string_view(url).substr(host, path - host), server) ||
      url.find_first_of(" \t\r\n?#@") != std::string::npos) {
    throw Error(Fault::usage, fmt::format("--connect: http://HOST:PORT is expected, not '{}'", url));
  }
  server.origin = url.substr(0, path);
  server.prefix = url.substr(path);
  server.api_key = api_key;
  while (server.prefix.ends_with('/')) server.prefix.pop_back();
  if (server.prefix.ends_with("/v1")) server.prefix.resize(server.prefix.size() - 3);
  return server;
}

Error unreachable(const Server& server, const ServerClient& client, httplib::Error error) {
  if (client.head_too_long()) {
    return Error(Fault::input, fmt::format("{} answers with headers or a line of more than {} KiB; is it a server of "
                                           "models?",
                                           server.origin, ServerClient::kMostHeadBytes >> 10U));
  }
  const bool nobody = error == httplib::Error::Connection;
  return Error(Fault::io,
               fmt::format("no answer from {}: {}", server.origin,
                           nobody ? "cannot connect; is flashmoe serve running there?" : httplib::to_string(error)));
}

struct HttpReply {
  int status = 0;
  std::string body;
};

HttpReply get(const Server& server, ServerClient& client, const std::string& path) {
  HttpReply reply;
  const auto take_status = [&](const httplib::Response& response) {
    client.begin_body();
    reply.status = response.status;
    return true;
  };
  const auto take_body = [&](const char* bytes, size_t n) {
    reply.body.append(bytes, n);
    return reply.body.size() <= kMostBodyBytes;
  };
  const auto answer = client.Get(server.prefix + path, server.headers(), take_status, take_body);
  if (reply.body.size() > kMostBodyBytes) {
    throw Error(Fault::input, fmt::format("{} answers GET {} with more than {} MiB; is it a server of models?",
                                          server.origin, server.prefix + path, kMostBodyBytes >> 20U));
  }
  if (!answer) throw unreachable(server, client, answer.error());
  return reply;
}

class RemoteAnswer : public Answer {
 public:
  RemoteAnswer(const Server& server, std::string body)
      : server_(server), client_(server.client()), thread_([this, body = std::move(body)] { work(body); }) {}

  ~RemoteAnswer() override {
    // A connection that was not open yet when it was stopped is stopped once more.
    for (std::unique_lock lock(mutex_); !over_; arrived_.wait_for(lock, kStopAgain, [this] { return over_; })) {
      cancelled_ = true;
      lock.unlock();
      client_->stop();
      lock.lock();
    }
    thread_.join();
  }

  std::optional<AnswerEvent> next(std::chrono::milliseconds patience) override {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, patience, [this] { return !events_.empty() || over_; });
    if (!events_.empty()) {
      AnswerEvent event = std::move(events_.front());
      events_.pop_front();
      if (event.kind == AnswerEvent::Kind::done) finished_ = true;
      return event;
    }
    if (!over_ || finished_) return std::nullopt;
    finished_ = true;
    if (error_) std::rethrow_exception(error_);
    return std::nullopt;
  }

  void cancel() override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
    }
    client_->stop();
  }

  bool finished() const override {
    const std::lock_guard lock(mutex_);
    return finished_;
  }

 private:
  bool is_cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

  void work(const std::string& body) {
    std::exception_ptr error;
    try {
      request(body);
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    error_ = error;
    over_ = true;
    arrived_.notify_all();
  }

  void request(const std::string& body) {
    CompletionStream stream([this](AnswerEvent event) {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
      arrived_.notify_all();
    });
    SseParser parser([&](std::string_view data) { stream.data(data); },
                     [&](std::string_view text) { stream.comment(text); });
    int status = 0;
    std::string complaint;
    std::exception_ptr error;  // exceptions must not cross the library
    httplib::Request request;
    request.method = "POST";
    request.path = server_.prefix + "/v1/chat/completions";
    request.headers = server_.headers();
    request.set_header("Content-Type", "application/json");
    request.set_header("Accept", "text/event-stream");
    request.body = body;
    request.response_handler = [&](const httplib::Response& response) {
      client_->begin_body();
      status = response.status;
      return true;
    };
    request.content_receiver = [&](const char* bytes, size_t n, uint64_t, uint64_t) {
      try {
        if (status == 200) {
          parser.add({bytes, n});
        } else {
          complaint.append(bytes, n);
        }
      } catch (...) {
        error = std::current_exception();
      }
      return !error && !is_cancelled() && complaint.size() < kMostErrorBytes;
    };
    httplib::Response response;
    auto failure = httplib::Error::Success;
    const bool sent = client_->send(request, response, failure);
    if (is_cancelled()) return stream.stop();
    if (error) std::rethrow_exception(error);
    if (status != 0 && status != 200) {
      throw Error(status == 503 || status == 429 ? Fault::busy : Fault::input, server_error(status, complaint));
    }
    if (!sent && (status == 0 || client_->head_too_long())) throw unreachable(server_, *client_, failure);
    stream.end();
  }

  const Server& server_;
  const std::unique_ptr<ServerClient> client_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<AnswerEvent> events_;
  std::exception_ptr error_;
  bool over_ = false, finished_ = false, cancelled_ = false;
  std::thread thread_;
};

class RemoteBackend : public Backend {
 public:
  explicit RemoteBackend(Server server) : server_(std::move(server)), client_(server_.client()) {
    const HttpReply answer = get(server_, *client_, "/v1/models");
    if (answer.status == 401 || answer.status == 403) {
      throw Error(Fault::input, fmt::format("{} wants {} key: give it with --api-key", server_.origin,
                                            server_.api_key.empty() ? "a" : "another"));
    }
    if (answer.status != 200) throw Error(Fault::input, server_error(answer.status, answer.body));
    const Json json = Json::parse(answer.body, nullptr, false);
    if (json.is_object() && json.contains("data") && json["data"].is_array() && !json["data"].empty() &&
        json["data"][0].is_object() && json["data"][0].contains("id") && json["data"][0]["id"].is_string()) {
      model_ = json["data"][0]["id"];
    }
  }

  std::unique_ptr<Answer> ask(const std::string& request_json, const GenerateOptions& generate) override {
    Json request = Json::parse(request_json);
    request["model"] = model_;
    request["stream"] = true;
    request["stream_options"] = {{"include_usage", true}};
    if (generate.max_tokens > 0) request["max_tokens"] = generate.max_tokens;
    const SamplingOptions& sampling = generate.sampling;
    request["temperature"] = sampling.temperature;
    request["top_p"] = sampling.top_p;
    request["seed"] = sampling.seed;
    if (sampling.top_k > 0) request["top_k"] = sampling.top_k;
    if (sampling.min_p > 0) request["min_p"] = sampling.min_p;
    if (sampling.repetition_penalty != 1) request["repetition_penalty"] = sampling.repetition_penalty;
    if (sampling.presence_penalty != 0) request["presence_penalty"] = sampling.presence_penalty;
    if (sampling.frequency_penalty != 0) request["frequency_penalty"] = sampling.frequency_penalty;
    if (!generate.stop.empty()) request["stop"] = generate.stop;
    return std::make_unique<RemoteAnswer>(server_, dump(request));
  }

  std::string model() const override { return model_; }

  std::optional<Stats> stats() override {
    const auto text = metrics();
    return text ? read_metrics(*text) : std::nullopt;
  }

  std::string stats_text() override {
    const auto text = metrics();
    return text ? metrics_text(*text) : "  the server tells no statistics\n";
  }

 private:
  // Not every server has them, and no answer depends on them.
  std::optional<std::string> metrics() {
    try {
      HttpReply answer = get(server_, *client_, "/metrics");
      return answer.status == 200 ? std::optional(std::move(answer.body)) : std::nullopt;
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  Server server_;
  std::unique_ptr<ServerClient> client_;
  std::string model_;
};

}  // namespace

std::unique_ptr<Backend> connect_backend(const std::string& url, const std::string& api_key) {
  return std::make_unique<RemoteBackend>(parse_url(url, api_key));
}

}  // namespace flashmoe
