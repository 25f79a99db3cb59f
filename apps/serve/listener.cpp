#include "serve/listener.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <sstream>
#include <string_view>

#include "flashmoe/error.h"
#include "serve/origin.h"

namespace flashmoe {
namespace {

// Above the limit, so that those turned away are told, and /health still answers.
constexpr size_t kCrowdedConnections = 32;
// Of clients that were turned away, and have not read so yet.
constexpr size_t kMostLeaving = 16;
constexpr std::chrono::milliseconds kLeavingTime{1000}, kLeavingGlance{20};
// Descriptors beside connections that may be opened while the server runs: those turned away, session files, /proc.
constexpr size_t kLaterDescriptors = kCrowdedConnections + kMostLeaving + 16;
// Templates and schemas recurse; what is not touched costs address space only.
constexpr size_t kStackBytes = size_t{2} << 20;
constexpr int kBacklog = 1024;
// What the kernel holds for a reader that takes nothing; by itself it would grow to megabytes for each.
constexpr int kSendBytes = 64 << 10;

constexpr std::string_view kFull =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

thread_local bool this_crowded = false;

// As many descriptors as the system allows: each connection is one. To be called when the model's files are open.
size_t room_for_connections(size_t wanted) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return wanted;
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  const size_t taken = static_cast<size_t>(std::distance(begin(open), end(open))) + kLaterDescriptors;
  if (limit.rlim_cur <= taken) {
    throw Error(Fault::usage,
                fmt::format("the limit on open files is {}, and {} are needed beside connections: raise it "
                            "(ulimit -n)",
                            limit.rlim_cur, taken));
  }
  return std::min(wanted, static_cast<size_t>(limit.rlim_cur) - taken);
}

// The header "Connection" is a list of words.
bool wants_connection(const httplib::Request& request, std::string_view word) {
  for (size_t i = 0; i < request.get_header_value_count("Connection"); ++i) {
    std::istringstream list(request.get_header_value("Connection", i));
    for (std::string item; std::getline(list >> std::ws, item, ',');) {
      if (is_same_word(item.substr(0, item.find_last_not_of(" \t") + 1), word)) return true;
    }
  }
  return false;
}

bool is_last(const httplib::Request& request) {
  if (wants_connection(request, "close")) return true;
  return request.version == "HTTP/1.0" && !wants_connection(request, "keep-alive");
}

// http://HOST/PATH, as a proxy is asked: what it names counts, not the Host header (RFC 9112, 3.2.2).
void take_absolute_target(httplib::Request& request) {
  const std::string_view host = host_of_target(request.target);
  if (host.empty()) return;
  const size_t path = request.path.find('/', request.path.find("://") + 3);
  request.path = path == std::string::npos ? "/" : request.path.substr(path);
  if (request.get_header_value_count("Host") == 1) request.headers.find("Host")->second = host;
}

}  // namespace

// What a connection's thread is started with.
struct Visit {
  Listener* listener;
  int socket;
  bool crowded;

  static void* run(void* self) {
    const std::unique_ptr<Visit> visit(static_cast<Visit*>(self));
    visit->listener->converse(visit->socket, visit->crowded);
    return nullptr;
  }
};

Listener::Listener(const std::string& host, int port, const ServeLimits& limits) : limits_(limits), host_(host) {
  stop_event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_event_ < 0) throw Error(Fault::io, fmt::format("cannot make an event: {}", std::strerror(errno)));
  bind_to(host, port);
  svr_sock_ = socket_;  // to httplib: running
  set_post_routing_handler([this](const httplib::Request&, httplib::Response& res) { tell_persistence(res); });
}

Listener::~Listener() {
  svr_sock_ = INVALID_SOCKET;
  if (socket_ >= 0) ::close(socket_);
  for (const Leaving& leaving : leaving_) ::close(leaving.socket);
  ::close(stop_event_);
}

void Listener::bind_to(const std::string& host, int port) {
  addrinfo wanted = {}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (code != 0) throw Error(Fault::usage, fmt::format("--host {}: {}", host, gai_strerror(code)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  int reason = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    socket_ = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_ < 0) {
      reason = errno;
      continue;
    }
    const int on = 1;  // a port whose last user has just gone is free
    setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(socket_, address->ai_addr, address->ai_addrlen) == 0) break;
    reason = errno;
    ::close(socket_);
    socket_ = -1;
  }
  if (socket_ < 0) complain(host, port, reason);
  sockaddr_storage bound = {};
  socklen_t size = sizeof(bound);
  getsockname(socket_, reinterpret_cast<sockaddr*>(&bound), &size);
  if (bound.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<sockaddr_in6&>(bound);
    port_ = ntohs(address.sin6_port);
    on_loopback_ = IN6_IS_ADDR_LOOPBACK(&address.sin6_addr) != 0;
  } else {
    const auto& address = reinterpret_cast<sockaddr_in&>(bound);
    port_ = ntohs(address.sin_port);
    on_loopback_ = (ntohl(address.sin_addr.s_addr) >> 24) == 127;
  }
}

void Listener::complain(const std::string& host, int port, int reason) const {
  const char* mend = reason == EADDRINUSE ? "; choose another with --port, or 0 for any free one" : "";
  throw Error(Fault::io, fmt::format("cannot listen on {} port {}: {}{}", host, port, std::strerror(reason), mend));
}

void Listener::open() {
  limits_.n_connections = room_for_connections(limits_.n_connections);
  if (::listen(socket_, kBacklog) != 0) complain(host_, port_, errno);
}

ConnectionCounts Listener::counts() const { return {n_open_, n_accepted_, n_refused_}; }

bool Listener::crowded() { return this_crowded; }

void Listener::serve() {
  constexpr int kNoDescriptorsPause = 20;
  pollfd events[] = {{socket_, POLLIN, 0}, {stop_event_, POLLIN, 0}};
  while (!ending_) {
    if (poll(events, 2, leaving_.empty() ? -1 : static_cast<int>(kLeavingGlance.count())) < 0 && errno != EINTR) break;
    see_off();
    const int socket = accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket >= 0) {
      take(socket);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      poll(&events[1], 1, kNoDescriptorsPause);
    }
  }
  shutdown(socket_, SHUT_RDWR);
  constexpr std::chrono::seconds kGrace{2};  // for last words to readers that are slow
  std::unique_lock lock(mutex_);
  const auto closed = [this] { return n_open_ == 0; };
  if (all_closed_.wait_for(lock, kGrace, closed)) return;
  for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
  all_closed_.wait(lock, closed);
}

void Listener::end() {
  ending_ = true;
  const uint64_t one = 1;
  while (::write(stop_event_, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

void Listener::take(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof(kSendBytes));
  ++n_accepted_;
  const bool crowded = n_open_ >= limits_.n_connections;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto visit = std::make_unique<Visit>(Visit{this, socket, crowded});
  pthread_t thread;
  ++n_open_;
  const bool started = n_open_ <= limits_.n_connections + kCrowdedConnections &&
                       pthread_create(&thread, &attributes, Visit::run, visit.get()) == 0;
  pthread_attr_destroy(&attributes);
  if (started) {
    visit.release();
    return;
  }
  --n_open_;
  turn_away(socket);
}

// Closing at once, with the request unread, would reset the connection, and the client might not see what it was told.
void Listener::turn_away(int socket) {
  ++n_refused_;
  [[maybe_unused]] const ssize_t sent = send(socket, kFull.data(), kFull.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  shutdown(socket, SHUT_WR);
  if (leaving_.size() == kMostLeaving) {
    ::close(leaving_.front().socket);
    leaving_.pop_front();
  }
  leaving_.push_back({socket, std::chrono::steady_clock::now() + kLeavingTime});
}

void Listener::see_off() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(leaving_, [now](const Leaving& leaving) {
    char unread[4096];
    const ssize_t n = recv(leaving.socket, unread, sizeof(unread), MSG_DONTWAIT);
    const bool waits = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (waits && now < leaving.until) return false;
    ::close(leaving.socket);
    return true;
  });
}

// For what keeps a connection without asking anything: less where connections are scarce.
std::chrono::milliseconds Listener::patience(std::chrono::milliseconds usual) const {
  constexpr std::chrono::milliseconds kHurried{1000};
  return n_open_ * 2 < limits_.n_connections ? usual : std::min(usual, kHurried);
}

void Listener::converse(int socket, bool crowded) {
  this_crowded = crowded;
  if (crowded) ++n_refused_;
  {
    Connection connection(socket, stop_event_, limits_);
    {
      const std::lock_guard lock(mutex_);
      sockets_.insert(socket);
    }
    answer_requests(connection, crowded);
    if (connection.trouble() != Connection::Trouble::closed && !connection.gone()) connection.linger();
    const std::lock_guard lock(mutex_);
    sockets_.erase(socket);
  }
  const std::lock_guard lock(mutex_);
  if (--n_open_ == 0) all_closed_.notify_all();
}

void Listener::answer_requests(Connection& connection, bool crowded) {
  const auto read_head = [&connection](httplib::Request& request) {
    connection.begin_body(is_same_word(request.get_header_value("Transfer-Encoding"), "chunked"));
    take_absolute_target(request);
    // Ranges of an answer mean nothing, and compressing it costs more than it spares.
    request.ranges.clear();
    for (const char* name : {"Range", "Accept-Encoding"}) request.headers.erase(name);
    if (is_last(request)) connection.close_after();
  };
  if (crowded) connection.close_after();
  bool closed = false;  // httplib's own view of is_last
  for (bool first = true; first || (!connection.last() && !ending_); first = false) {
    const auto head_time = patience(limits_.head_time);
    if (!connection.await_request(first ? head_time : patience(limits_.idle_time), head_time)) return;
    const bool answered = process_request(connection, crowded, closed, read_head);
    if (!connection.wrote()) answer_broken_head(connection);
    if (!answered) return;
  }
}

// httplib would tell limits of its own, which do not hold here.
void Listener::tell_persistence(httplib::Response& response) const {
  for (const char* name : {"Connection", "Keep-Alive"}) response.headers.erase(name);
  const Connection* connection = Connection::current();
  const bool last = connection == nullptr || connection->last() || ending_;
  response.set_header("Connection", last ? "close" : "keep-alive");
  if (last) return;
  const auto idle = std::chrono::duration_cast<std::chrono::seconds>(patience(limits_.idle_time));
  response.set_header("Keep-Alive", fmt::format("timeout={}", idle.count()));
}

// httplib gives up without a word on a request line that does not end.
void Listener::answer_broken_head(Connection& connection) {
  const auto trouble = connection.trouble();
  if (trouble != Connection::Trouble::too_long && trouble != Connection::Trouble::too_slow) return;
  const char* status =
      trouble == Connection::Trouble::too_slow ? "408 Request Timeout" : "431 Request Header Fields Too Large";
  const std::string text = fmt::format("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status);
  connection.write(text.data(), text.size());
}

}  // namespace flashmoe
