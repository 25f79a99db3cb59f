// Routing traces of no model.
#pragma once

#include <cstdint>
#include <string>

#include "experts/routing_trace.h"

namespace flashmoe {

// 3 layers of 12 experts, 2 used, two classes of slots; everything that a trace may hold is in it.
TraceHeader made_up_header();
// With picks, outcomes, guesses, scores and times that follow from `number` alone.
TraceStep made_up_step(const TraceHeader& header, uint64_t number, int n_rows, bool decode);
// A whole file: a prompt of five rows, then `n_decoded` tokens.
std::string made_up_trace(const std::string& path, int n_decoded, uint64_t most_bytes = 1 << 20);

}  // namespace flashmoe
