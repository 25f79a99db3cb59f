// What the server tells of itself: /health, /props, /v1/models, /metrics.
#pragma once

#include <string>

#include "flashmoe/service.h"
#include "serve/exchange.h"
#include "serve/limits.h"
#include "serve/request_fields.h"

namespace flashmoe {

struct ConnectionCounts {
  uint64_t open = 0, accepted = 0, refused = 0;
};

// No request can be answered until the server is started again.
bool is_failing(const ServiceStats& stats);
Json health(const ServiceStats& stats);
Json props(const Service& service, const Served& served, const ServeLimits& limits);
Json models(const Engine& engine, const Served& served);
// Prometheus text.
std::string metrics(const ServiceStats& stats, const ConnectionCounts& connections);

}  // namespace flashmoe
