// The families this version runs: one row each in registry.cpp.
#pragma once

#include "model/family.h"

namespace flashmoe {

std::unique_ptr<Family> make_qwen3_5_moe(const Checkpoint& checkpoint);
std::unique_ptr<Family> make_qwen3_moe(const Checkpoint& checkpoint);
std::unique_ptr<Family> make_qwen3_next(const Checkpoint& checkpoint);

}  // namespace flashmoe
