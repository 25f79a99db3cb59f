// How the experts of a plan are read and kept.
#pragma once

#include <vector>

#include "engine/memory_planner.h"
#include "engine/reading.h"
#include "experts/streamed.h"

namespace flashmoe {

// `reading`: after the queue was made that the experts will be read with. `budget`: with the placement's allotments. `rates`: what earlier runs used, or nothing.
StreamedOptions streaming_options(const EngineOptions& options, const Placement& placement, const ExpertTable& experts,
                                  const Reading& reading, int n_threads, const Budget& budget,
                                  std::vector<float> rates);

}  // namespace flashmoe
