// What packing does to each part of a model, for people.
#pragma once

#include "flashmoe/pack.h"
#include "pack/source.h"

namespace flashmoe {

// Adds lines, bytes of source and result, and of the largest record.
void add_lines(const PackSource& source, PackPlan& plan);

}  // namespace flashmoe
