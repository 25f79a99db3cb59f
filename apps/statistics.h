// What a run did: for people, and as JSON for programs.
#pragma once

#include <string>

#include "flashmoe/session.h"
#include "flashmoe/stats.h"

namespace flashmoe {

const char* show_reason(StopReason reason);

// Several lines that end in a newline: of one run; of the engine beneath it or beneath many.
std::string engine_text(const Stats& stats);
std::string statistics_text(const Stats& stats, StopReason reason);
// The nine stages per kind of layer, in milliseconds.
std::string timing_table(const StageTimes& stages);

// docs/how-to/run-a-model.md lists the names. `stages` is empty unless `with_stages`.
std::string statistics_json(const Stats& stats, StopReason reason, bool with_stages);

}  // namespace flashmoe
