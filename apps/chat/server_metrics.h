// What a server's /metrics (Prometheus text) tells about its engine.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "flashmoe/stats.h"

namespace flashmoe {

// Hits and misses of the expert cache: the counters whose names end in hits_total and misses_total.
std::optional<Stats> read_metrics(std::string_view text);

// The samples of flashmoe as lines, for people.
std::string metrics_text(std::string_view text);

}  // namespace flashmoe
