// One client's socket as a stream with limits: what httplib reads requests from and writes responses to.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "serve/chunked_framing.h"
#include "serve/limits.h"

namespace flashmoe {

class Connection : public httplib::Stream {
 public:
  enum class Trouble { none, too_long, too_slow, closed };

  // Takes the socket over. `stop_event` becomes readable when the server ends.
  Connection(int socket, int stop_event, const ServeLimits& limits);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The connection whose request this thread is answering; null on other threads.
  static Connection* current();

  // Waits for the first byte of a request, behind which its head has `head_time`. False: closed, nothing came in time,
  // or the server ends.
  bool await_request(std::chrono::milliseconds patience, std::chrono::milliseconds head_time);
  // The head was read: from here on the body's limits hold.
  void begin_body(bool chunked);
  // The client sends nothing more: it has gone, or waits for answers alone. What is then written tells which: the
  // system of one that has gone refuses it.
  bool half_closed() const;
  // The client has gone for certain, also while nothing is read from it or written to it.
  bool gone() const;
  // Ends it without a word more.
  void abandon();
  // No further request on this connection.
  void close_after() { last_ = true; }
  bool last() const { return last_; }
  Trouble trouble() const { return trouble_; }
  bool wrote() const { return wrote_; }
  // Says goodbye such that the client can read the response even if it is still sending.
  void linger();

  bool is_readable() const override;
  bool is_writable() const override { return !gone(); }
  ssize_t read(char* bytes, size_t size) override;
  ssize_t write(const char* bytes, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool fill();
  ssize_t take(char* bytes, size_t size);

  int socket_, stop_event_;
  const ServeLimits& limits_;
  std::array<char, 4096> buffer_;
  size_t at_ = 0, end_ = 0;                // in buffer_: not yet read
  std::optional<ChunkedFraming> framing_;  // of a chunked body
  size_t bytes_left_ = 0, lines_left_ = 0;
  bool in_head_ = true, last_ = false, wrote_ = false;
  Trouble trouble_ = Trouble::none;
  Clock::time_point deadline_;
};

}  // namespace flashmoe
