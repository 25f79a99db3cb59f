// Takes connections and gives each a thread, up to a limit; httplib parses requests and calls the handlers.
#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <string>

#include "serve/connection.h"
#include "serve/limits.h"
#include "serve/status.h"

namespace flashmoe {

class Listener : public httplib::Server {
 public:
  // Binds at once, but takes nothing before serve(). Throws Error{usage} for a host that is none, and Error{io} when
  // the address cannot be had. Port 0: any free one.
  Listener(const std::string& host, int port, const ServeLimits& limits);
  ~Listener() override;

  int port() const { return port_; }
  bool on_loopback() const { return on_loopback_; }
  const ServeLimits& limits() const { return limits_; }
  ConnectionCounts counts() const;
  // This thread's connection is one too many: only what costs nothing is answered.
  static bool crowded();

  // To be called before serve(): from here on clients may connect. Throws like the constructor.
  void open();
  // Takes connections until end() is called from another thread; returns when every connection is closed.
  void serve();
  void end();
  bool ending() const { return ending_; }

 private:
  friend struct Visit;
  void bind_to(const std::string& host, int port);
  [[noreturn]] void complain(const std::string& host, int port, int reason) const;
  void take(int socket);
  void turn_away(int socket);
  void see_off();
  void converse(int socket, bool crowded);
  void answer_requests(Connection& connection, bool crowded);
  void answer_broken_head(Connection& connection);
  void tell_persistence(httplib::Response& response) const;
  std::chrono::milliseconds patience(std::chrono::milliseconds usual) const;

  ServeLimits limits_;
  std::string host_;
  int socket_ = -1, stop_event_ = -1, port_ = 0;
  bool on_loopback_ = false;
  struct Leaving {
    int socket;
    std::chrono::steady_clock::time_point until;
  };
  std::deque<Leaving> leaving_;  // of the thread that serves
  std::atomic<bool> ending_ = false;
  std::atomic<size_t> n_open_ = 0;
  std::atomic<uint64_t> n_accepted_ = 0, n_refused_ = 0;
  std::mutex mutex_;
  std::set<int> sockets_;  // of all connections
  std::condition_variable all_closed_;
};

}  // namespace flashmoe
