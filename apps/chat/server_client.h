// An HTTP client that takes no more of a head or of a line than it has to: httplib bounds neither.
#pragma once

#include <httplib.h>

#include <string>

namespace flashmoe {

class ServerClient : public httplib::ClientImpl {
 public:
  static constexpr size_t kMostHeadBytes = 64U << 10U;  // status line and headers; a line between chunks

  ServerClient(const std::string& host, int port) : ClientImpl(host, port) {}

  // For every request's response handler: what comes now is no head any more.
  void begin_body() { in_head_ = false; }
  // The last request failed because there was more.
  bool head_too_long() const { return head_too_long_; }

 private:
  class Connection;
  bool process_socket(const Socket& socket, std::function<bool(httplib::Stream&)> callback) override;

  bool in_head_ = true, head_too_long_ = false;
};

}  // namespace flashmoe
