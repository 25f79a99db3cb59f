#include "serve/connection.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace flashmoe {
namespace {

thread_local Connection* answering = nullptr;

using std::chrono::milliseconds;

int poll_time(milliseconds time) { return static_cast<int>(std::max<int64_t>(0, time.count())); }

void name_of(int (*ask)(int, sockaddr*, socklen_t*), int socket, std::string& ip, int& port) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST], service[NI_MAXSERV];
  if (ask(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  if (getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof(host), service, sizeof(service),
                  NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
    ip = host;
    port = std::atoi(service);
  }
}

int peer(int socket, sockaddr* address, socklen_t* size) { return getpeername(socket, address, size); }
int self(int socket, sockaddr* address, socklen_t* size) { return getsockname(socket, address, size); }

}  // namespace

Connection::Connection(int socket, int stop_event, const ServeLimits& limits)
    : socket_(socket), stop_event_(stop_event), limits_(limits) {
  answering = this;
}

Connection::~Connection() {
  answering = nullptr;
  ::close(socket_);
}

Connection* Connection::current() { return answering; }

bool Connection::await_request(milliseconds patience, milliseconds head_time) {
  trouble_ = Trouble::none;
  in_head_ = true;
  framing_.reset();
  wrote_ = false;
  bytes_left_ = limits_.head_bytes;
  lines_left_ = limits_.head_lines;
  if (at_ == end_) {
    pollfd events[] = {{socket_, POLLIN, 0}, {stop_event_, POLLIN, 0}};
    int ready = 0;
    do {
      ready = poll(events, 2, poll_time(patience));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0 || events[1].revents != 0) return false;
  }
  deadline_ = Clock::now() + head_time;
  return at_ < end_ || fill();
}

void Connection::begin_body(bool chunked) {
  if (chunked) framing_.emplace();
  in_head_ = false;
  // Chunks have heads of their own; the body itself is counted where it is put together.
  bytes_left_ = 2 * limits_.body_bytes + limits_.head_bytes;
  deadline_ = Clock::now() + limits_.body_time;
}

bool Connection::half_closed() const {
  pollfd event = {socket_, POLLRDHUP, 0};
  return poll(&event, 1, 0) > 0;
}

bool Connection::gone() const {
  pollfd event = {socket_, 0, 0};  // errors come unasked
  return poll(&event, 1, 0) > 0;
}

void Connection::abandon() { shutdown(socket_, SHUT_RDWR); }

bool Connection::is_readable() const {
  if (at_ < end_) return true;
  pollfd event = {socket_, POLLIN, 0};
  return poll(&event, 1, poll_time(limits_.body_time)) > 0;
}

// Bytes into the empty buffer; false: none will come, and trouble_ says why.
bool Connection::fill() {
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now());
    pollfd event = {socket_, POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : poll(&event, 1, poll_time(left));
    if (ready == 0) {
      trouble_ = Trouble::too_slow;
      return false;
    }
    if (ready < 0 && errno == EINTR) continue;
    const ssize_t n = ready < 0 ? -1 : recv(socket_, buffer_.data(), buffer_.size(), 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      trouble_ = Trouble::closed;
      return false;
    }
    at_ = 0;
    end_ = static_cast<size_t>(n);
    return true;
  }
}

ssize_t Connection::read(char* bytes, size_t size) {
  while (true) {
    const ssize_t n = take(bytes, size);
    if (n <= 0 || !framing_) return n;
    const size_t n_kept = framing_->keep(bytes, static_cast<size_t>(n));
    if (framing_->broken()) return -1;
    if (n_kept > 0) return static_cast<ssize_t>(n_kept);
  }
}

ssize_t Connection::take(char* bytes, size_t size) {
  if (trouble_ != Trouble::none) return -1;
  if (at_ == end_ && !fill()) return -1;
  const size_t n = std::min(size, end_ - at_);
  const auto lines = in_head_ ? static_cast<size_t>(std::count(&buffer_[at_], &buffer_[at_] + n, '\n')) : 0;
  if (n > bytes_left_ || lines > lines_left_) {
    trouble_ = Trouble::too_long;
    return -1;
  }
  bytes_left_ -= n;
  lines_left_ -= lines;
  std::copy_n(&buffer_[at_], n, bytes);
  at_ += n;
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* bytes, size_t size) {
  wrote_ = true;
  const auto deadline = Clock::now() + limits_.write_time;
  while (true) {
    const ssize_t n = send(socket_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return n;
    if (errno != EINTR && errno != EAGAIN) return -1;
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    pollfd event = {socket_, POLLOUT, 0};
    if (left.count() <= 0 || poll(&event, 1, poll_time(left)) == 0) return -1;
  }
}

void Connection::linger() {
  constexpr milliseconds kPatience{2000};
  shutdown(socket_, SHUT_WR);
  deadline_ = Clock::now() + std::min(kPatience, limits_.body_time);
  while (fill()) {
  }
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const { name_of(peer, socket_, ip, port); }
void Connection::get_local_ip_and_port(std::string& ip, int& port) const { name_of(self, socket_, ip, port); }

}  // namespace flashmoe
