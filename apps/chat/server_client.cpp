#include "chat/server_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

namespace flashmoe {

class ServerClient::Connection : public httplib::Stream {
 public:
  Connection(ServerClient& client, socket_t socket) : client_(client), socket_(socket) {}

  bool is_readable() const override { return at_ < end_ || is_ready(POLLIN, client_.read_timeout_sec_); }
  bool is_writable() const override { return is_ready(POLLOUT, client_.write_timeout_sec_); }

  // httplib takes heads and lines byte by byte, and bodies in pieces.
  ssize_t read(char* bytes, size_t size) override {
    if (client_.head_too_long_) return -1;
    if (at_ == end_) {
      const ssize_t n = fill();
      if (n <= 0) return n;
    }
    if (size == 1 || client_.in_head_) {
      size = 1;
      client_.head_too_long_ = left_ == 0;
      if (client_.head_too_long_) return -1;
      --left_;
    }
    const size_t n = std::min(size, end_ - at_);
    std::copy_n(&buffer_[at_], n, bytes);
    at_ += n;
    const bool is_over = size > 1 || bytes[0] == '\n';  // a line between chunks
    if (!client_.in_head_ && is_over) left_ = kMostHeadBytes;
    return static_cast<ssize_t>(n);
  }

  ssize_t write(const char* bytes, size_t size) override {
    if (!is_writable()) return -1;
    ssize_t n = 0;
    do {
      n = ::send(socket_, bytes, size, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
  }

  // Only servers ask for these.
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  bool is_ready(int16_t events, time_t seconds) const {
    pollfd wanted = {socket_, events, 0};
    int ready = 0;
    do {
      ready = ::poll(&wanted, 1, static_cast<int>(seconds * 1000));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
  }

  ssize_t fill() {
    if (!is_readable()) return -1;
    ssize_t n = 0;
    do {
      n = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
    } while (n < 0 && errno == EINTR);
    at_ = 0;
    end_ = static_cast<size_t>(std::max<ssize_t>(n, 0));
    return n;
  }

  ServerClient& client_;
  const socket_t socket_;
  std::array<char, 4096> buffer_;
  size_t at_ = 0, end_ = 0;  // in buffer_: not yet read
  size_t left_ = kMostHeadBytes;
};

bool ServerClient::process_socket(const Socket& socket, std::function<bool(httplib::Stream&)> callback) {
  in_head_ = true;
  head_too_long_ = false;
  Connection connection(*this, socket.sock);
  return callback(connection);
}

}  // namespace flashmoe
