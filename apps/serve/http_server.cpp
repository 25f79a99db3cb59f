#include "serve/http_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "flashmoe/json_extent.h"
#include "serve/anthropic_messages.h"
#include "serve/openai_chat.h"
#include "serve/openai_completion.h"
#include "serve/openai_responses.h"
#include "serve/origin.h"
#include "serve/page_files.h"
#include "serve/status.h"

namespace flashmoe {
namespace {

// A response before the one that counts; HTTP/1.0 has none.
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr const char* kJson = "application/json";
// A node, the text it points to and the growth of lists, twice: the request is put together anew for the template.
constexpr size_t kJsonValueBytes = 128;
constexpr size_t kLongestPath = 512;
constexpr const char* kModelPath = "/v1/models/";

constexpr std::array kPosts = {"/v1/chat/completions", "/v1/completions",           "/v1/responses",
                               "/v1/messages",         "/v1/messages/count_tokens", "/v1/embeddings"};
constexpr std::array kGets = {"/health", "/metrics", "/props", "/v1/models"};
// These tell nothing of conversations, and the page itself must come before it can ask for a key.
constexpr std::array kOpenGets = {"/health"};

template <typename List>
bool holds(const List& list, std::string_view path) {
  return std::find(list.begin(), list.end(), path) != list.end();
}

bool is_get(const std::string& path) {
  return holds(kGets, path) || path.rfind(kModelPath, 0) == 0 || find_page_file(path) != nullptr;
}

bool needs_key(const std::string& path) { return !holds(kOpenGets, path) && find_page_file(path) == nullptr; }

Api api_of(const httplib::Request& request) {
  const bool anthropic = request.path.rfind("/v1/messages", 0) == 0 || request.has_header("anthropic-version");
  return anthropic ? Api::anthropic : Api::openai;
}

void tell_error(const httplib::Request& request, httplib::Response& response, const ApiError& error) {
  response.status = error.status;
  response.set_content(error_json(api_of(request), error), kJson);
  if (error.status == 503 || error.status == 429) response.set_header("Retry-After", "1");
  if (error.status == 401) response.set_header("WWW-Authenticate", "Bearer");
}

// What follows on this connection cannot be trusted to be a request.
void hang_up() {
  if (Connection* connection = Connection::current()) connection->close_after();
}

// Refusals by httplib itself, which come without a body.
void complete_error(const httplib::Request& request, httplib::Response& response) {
  if (!response.body.empty()) return;
  const auto trouble = Connection::current() ? Connection::current()->trouble() : Connection::Trouble::none;
  if (trouble == Connection::Trouble::too_long) response.status = 431;
  if (trouble == Connection::Trouble::too_slow) response.status = 408;
  const char* reason = response.status == 431   ? "the request's headers are too long"
                       : response.status == 408 ? "the request did not come in time"
                       : response.status == 414 ? "the request line is too long"
                       : response.status == 404 ? "there is nothing at this path"
                                                : "not a valid HTTP request";
  tell_error(request, response, ApiError(response.status, reason));
  hang_up();
}

// What the service keeps of them.
size_t memory_of(const std::vector<Request>& requests) {
  size_t bytes = 0;
  for (const Request& request : requests) {
    bytes += request.chat_json.size() + kJsonValueBytes * json_extent(request.chat_json).n_values +
             request.text.size() + request.ids.size() * sizeof(request.ids[0]);
  }
  return bytes;
}

bool same_text(std::string_view a, std::string_view b) {
  // Takes as long whether the first letter differs or the last.
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? '\0' : b[i % b.size()]);
  }
  return difference == 0;
}

}  // namespace

HttpServer::HttpServer(Listener& listener, Service& service, const Served& served, const Access& access)
    : listener_(listener),
      service_(service),
      served_(served),
      access_(access),
      request_bytes_(listener.limits().held_bytes()) {
  listener.set_pre_routing_handler([this](const Req& request, Res& response) {
    const bool done = admit(request, response);
    return done ? httplib::Server::HandlerResponse::Handled : httplib::Server::HandlerResponse::Unhandled;
  });
  listener.set_error_handler(httplib::Server::Handler(complete_error));
  listener.set_exception_handler([](const Req& request, Res& response, std::exception_ptr thrown) {
    tell_error(request, response, api_error_of(thrown));
    hang_up();
  });
  add_pages();
  add_api("/v1/chat/completions", read_chat_completion);
  add_api("/v1/completions", read_completion);
  add_api("/v1/responses", read_response_request);
  add_api("/v1/messages", read_messages);
  listener.Post("/v1/messages/count_tokens", [this](const Req&, Res& response, const httplib::ContentReader& reader) {
    RequestBytes::Holding held(request_bytes_);
    const Request counted = read_messages_to_count(read_body(reader, held));
    response.set_content(dump(Json{{"input_tokens", service_.count_tokens(counted)}}), kJson);
  });
  listener.Post("/v1/embeddings", [this](const Req&, Res&, const httplib::ContentReader& reader) {
    RequestBytes::Holding held(request_bytes_);
    read_body(reader, held);
    throw ApiError(501, "embeddings are not built: this server runs a model that generates text");
  });
}

void HttpServer::add_pages() {
  const auto get = [this](const char* path, auto make) {
    listener_.Get(path, [make](const Req&, Res& response) { response.set_content(dump(make()), kJson); });
  };
  listener_.Get("/health", [this](const Req&, Res& response) {
    const ServiceStats stats = service_.stats();
    if (is_failing(stats)) response.status = 503;
    response.set_content(dump(health(stats)), kJson);
  });
  get("/props", [this] { return props(service_, served_, listener_.limits()); });
  get("/v1/models", [this] { return models(service_.engine(), served_); });
  listener_.Get("/v1/models/(.+)", [this](const Req& request, Res& response) {
    const std::string id = request.matches[1];
    if (id != served_.model_name)
      throw ApiError(404, fmt::format("the model '{}' is not served here", id), "model", "model_not_found");
    response.set_content(dump(models(service_.engine(), served_)["data"][0]), kJson);
  });
  listener_.Get("/metrics", [this](const Req&, Res& response) {
    response.set_content(metrics(service_.stats(), listener_.counts()), "text/plain; version=0.0.4; charset=utf-8");
  });
  const auto page = [](const Req& request, Res& response) {
    const PageFile* file = find_page_file(request.path);
    response.set_content(file->bytes.data(), file->bytes.size(), std::string(file->type));
    response.set_header("Content-Security-Policy",
                        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    response.set_header("Referrer-Policy", "no-referrer");
    response.set_header("Cache-Control", "no-cache");
  };
  listener_.Get("/", page);
  for (const PageFile& file : page_files()) listener_.Get(literal_pattern(file.path), page);
}

void HttpServer::add_api(const char* path, Reader reader) {
  listener_.Post(path, [this, reader](const Req& request, Res& response, const httplib::ContentReader& content) {
    const auto held = std::make_shared<RequestBytes::Holding>(request_bytes_);
    answer(reader(read_body(content, *held), served_), held, request, response);
  });
}

bool HttpServer::admit(const Req& request, Res& response) const {
  response.set_header("X-Content-Type-Options", "nosniff");
  const bool has_body = request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
  try {
    if (request.path.size() > kLongestPath) throw ApiError(414, "the path is too long");
    check_origin(request, response);
    if (request.method == "OPTIONS") {
      preflight(request, response);
      if (has_body) hang_up();
      return true;
    }
    const bool get = is_get(request.path), post = holds(kPosts, request.path);
    if (!get && !post) throw ApiError(404, fmt::format("there is nothing at {}", request.path));
    if (get ? request.method != "GET" && request.method != "HEAD" : request.method != "POST") {
      response.set_header("Allow", get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS");
      throw ApiError(405, fmt::format("{} takes {}, not {}", request.path, get ? "GET" : "POST", request.method));
    }
    if (needs_key(request.path)) check_key(request);
    if (post && Listener::crowded()) throw ApiError(503, "too many connections are open; try again later");
    if (post) keep_on_or_throw();
    check_body(request);
    if (get && has_body) hang_up();
    return false;
  } catch (const ApiError& error) {
    tell_error(request, response, error);
    if (has_body) hang_up();
    return true;
  }
}

void HttpServer::check_origin(const Req& request, Res& response) const {
  const size_t n_hosts = request.get_header_value_count("Host");
  if (n_hosts > 1 || (n_hosts == 0 && request.version != "HTTP/1.0")) {
    throw ApiError(400, fmt::format("a request has one Host header, and this one has {}", n_hosts));
  }
  const std::string host = request.get_header_value("Host");
  // A page elsewhere may have its name resolve to this machine; it cannot know the key, though.
  if (access_.api_key.empty() && !is_local_host(host)) {
    throw ApiError(403, "the Host header names another machine; without --api-key only localhost is served");
  }
  if (!request.has_header("Origin")) return;
  const std::string origin = request.get_header_value("Origin");
  const bool any = holds(access_.origins, "*");
  if (any || holds(access_.origins, origin)) {
    response.set_header("Access-Control-Allow-Origin", any ? "*" : origin);
    if (!any) response.set_header("Vary", "Origin");
  } else if (!is_same_origin(origin, host)) {
    throw ApiError(403, "pages of other origins may not ask; --cors ORIGIN allows one");
  }
}

void HttpServer::preflight(const Req& request, Res& response) const {
  response.status = 204;
  if (!response.has_header("Access-Control-Allow-Origin")) return;
  response.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  const std::string wanted = request.get_header_value("Access-Control-Request-Headers");
  if (is_header_list(wanted)) response.set_header("Access-Control-Allow-Headers", wanted);
  response.set_header("Access-Control-Max-Age", "600");
}

void HttpServer::check_key(const Req& request) const {
  if (access_.api_key.empty()) return;
  std::string key = request.get_header_value("x-api-key");
  const std::string authorization = request.get_header_value("Authorization");
  if (const std::string_view bearer = bearer_of(authorization); !bearer.empty()) key = bearer;
  if (same_text(key, access_.api_key)) return;
  const char* how = "; send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'";
  throw ApiError(401, std::string(key.empty() ? "an API key is demanded" : "the API key is wrong") + how, {},
                 "invalid_api_key");
}

// What would let two readers of a request disagree on where it ends is refused.
void HttpServer::check_body(const Req& request) const {
  const auto length = request.get_header_value("Content-Length");
  const bool chunked = request.has_header("Transfer-Encoding");
  if (chunked && (request.get_header_value_count("Transfer-Encoding") > 1 ||
                  !is_same_word(request.get_header_value("Transfer-Encoding"), "chunked"))) {
    throw ApiError(501, "of transfer encodings only 'chunked' is supported");
  }
  const bool digits = std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; });
  const auto n_lengths = request.get_header_value_count("Content-Length");
  if (n_lengths > 1 || (n_lengths == 1 && (chunked || length.empty() || !digits))) {
    throw ApiError(400, "the length of the body is not clear");
  }
  const size_t limit = listener_.limits().body_bytes;
  if (n_lengths == 1 && (length.size() > 18 || std::stoull(length) > limit)) {
    throw ApiError(413, fmt::format("the request is larger than {} bytes", limit));
  }
  if (request.method == "POST" && n_lengths == 0 && !chunked) throw ApiError(411, "the request has no body");
  if (request.is_multipart_form_data()) throw ApiError(415, "the body must be JSON");
}

std::string HttpServer::read_body(const httplib::ContentReader& reader, RequestBytes::Holding& held) const {
  const size_t limit = listener_.limits().body_bytes;
  std::string body;
  const bool whole = reader([&](const char* bytes, size_t n) {
    if (body.size() + n > limit) {  // once unpacked, if it came packed
      throw ApiError(413, fmt::format("the request is larger than {} bytes", limit));
    }
    held.hold(body.size() + n);
    body.append(bytes, n);
    return true;
  });
  if (whole) {
    const size_t n_values = json_extent(body).n_values;
    if (n_values <= kMostJsonValues) held.hold(body.size() + kJsonValueBytes * n_values);  // more are refused unread
    return body;
  }
  const Connection* connection = Connection::current();
  const bool slow = connection != nullptr && connection->trouble() == Connection::Trouble::too_slow;
  throw ApiError(slow ? 408 : 400, slow ? "the request's body did not come in time" : "the request's body is broken");
}

void HttpServer::keep_on_or_throw() const {
  if (listener_.ending()) throw ApiError(503, "the server is stopping");
}

// A client that sends nothing more may have left: `probe` writes something, once, so that the connection tells.
KeepOn HttpServer::while_there(const Connection& connection, std::function<bool()> probe) const {
  return [this, &connection, probe = std::move(probe), probed = false]() mutable {
    keep_on_or_throw();
    if (!probed && connection.half_closed()) {
      probed = true;
      if (!probe()) return false;
    }
    return !connection.gone();
  };
}

void HttpServer::answer(std::unique_ptr<Exchange> made, std::shared_ptr<RequestBytes::Holding> held, const Req& request,
                        Res& response) const {
  const std::shared_ptr<Exchange> exchange = std::move(made);
  const Asked& asked = exchange->asked();
  held->hold(asked.choices_per_prompt * memory_of(asked.requests));
  const auto answering = std::make_shared<Answering>(service_, asked);
  Connection& connection = *Connection::current();
  if (!asked.stream) {
    const auto probe = [&] {
      return request.version != "HTTP/1.0" && connection.write(kContinue.data(), kContinue.size()) > 0;
    };
    const auto choices = collect(*answering, asked.n_choices(), while_there(connection, probe));
    if (choices) {
      response.set_content(exchange->whole(*choices), kJson);
    } else {
      connection.abandon();
    }
    return;
  }
  const int64_t prompt_tokens = exchange->api() == Api::anthropic ? service_.count_tokens(asked.requests.front()) : 0;
  const auto provide = [this, held, exchange, answering, prompt_tokens, &connection](size_t, httplib::DataSink& sink) {
    const Write write = [&sink](const std::string& text) {
      return text.empty() || sink.write(text.data(), text.size());
    };
    const KeepOn keep_on = while_there(connection, [&] { return write(kStillHere); });
    if (!stream(*exchange, *answering, prompt_tokens, keep_on, write)) return false;
    sink.done();
    return true;
  };
  response.set_header("Cache-Control", "no-cache");
  response.set_header("X-Accel-Buffering", "no");
  if (request.version == "HTTP/1.0") {  // has no chunks: the end of the connection is the end of the answer
    hang_up();
    response.set_content_provider("text/event-stream", provide);
  } else {
    response.set_chunked_content_provider("text/event-stream", provide);
  }
}

}  // namespace flashmoe
