// The routes: who may ask what, and which API answers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "flashmoe/service.h"
#include "serve/answering.h"
#include "serve/api_error.h"
#include "serve/exchange.h"
#include "serve/limits.h"
#include "serve/listener.h"
#include "serve/request_bytes.h"

namespace flashmoe {

struct Access {
  std::string api_key;               // empty: none is demanded
  std::vector<std::string> origins;  // of pages elsewhere that may ask ("*": any)
};

class HttpServer {
 public:
  // `service` must outlive it.
  HttpServer(Listener& listener, Service& service, const Served& served, const Access& access);

 private:
  using Req = httplib::Request;
  using Res = httplib::Response;
  using Reader = std::unique_ptr<Exchange> (*)(std::string_view body, const Served& served);

  void add_pages();
  void add_api(const char* path, Reader reader);
  // Refuses, or answers what needs no handler; true: done.
  bool admit(const Req& request, Res& response) const;
  void check_origin(const Req& request, Res& response) const;
  void check_key(const Req& request) const;
  void check_body(const Req& request) const;
  void preflight(const Req& request, Res& response) const;
  // Its bytes are held from their arrival on, and the memory that reading it as JSON takes.
  std::string read_body(const httplib::ContentReader& reader, RequestBytes::Holding& held) const;
  // `held` goes on until the answer has ended.
  void answer(std::unique_ptr<Exchange> exchange, std::shared_ptr<RequestBytes::Holding> held, const Req& request,
              Res& response) const;
  void keep_on_or_throw() const;
  KeepOn while_there(const Connection& connection, std::function<bool()> probe) const;

  Listener& listener_;
  Service& service_;
  Served served_;
  Access access_;
  RequestBytes request_bytes_;
};

}  // namespace flashmoe
