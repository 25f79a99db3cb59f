// What stands in the way of speed, or of running at all, on this machine and with this model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flashmoe/forecast.h"
#include "flashmoe/options.h"

namespace flashmoe {

enum class Verdict {
  good,
  note,     // works, but could be better or needs watching
  problem,  // fails, or costs much speed
};
inline constexpr const char* kVerdictNames[] = {"good", "note", "problem"};

struct Finding {
  std::string what;  // "memory", "io_uring", "model", ...
  Verdict verdict = Verdict::good;
  std::string found;  // one line
  std::string mend;   // one line; empty when good
};

struct Examination {
  std::vector<Finding> findings;
  std::optional<Forecast> forecast;  // where a model could be opened and planned
};

// Looks at CPU, limits, memory, kernel and, if `options.model_path` is not empty, at the model's files, their file
// system and disk. Measures for some seconds, and loads the model. What fails is a finding, not an exception, but for
// Error{interrupted}.
Examination examine(const EngineOptions& options);

}  // namespace flashmoe
