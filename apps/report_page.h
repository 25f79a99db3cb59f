// Traces as one page that needs nothing else: style, text and charts in one file.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "flashmoe/trace.h"

namespace flashmoe {

struct ReportedTrace {
  TraceAnalysis analysis;
  TraceTimeline timeline;
  std::vector<WhatIfResult> curve;  // larger and larger caches
  WhatIfResult present;             // the recorded cache, replayed
};

std::string report_page(std::span<const ReportedTrace> traces);

}  // namespace flashmoe
