// What `flashmoe eval` was asked for.
#pragma once

#include <cstdint>
#include <string>

#include "flashmoe/options.h"

namespace flashmoe {

enum class EvalKind { perplexity, divergence, tools };

struct EvalOptions {
  EvalKind kind = EvalKind::perplexity;
  EngineOptions engine;
  std::string text_file, conversations_file, cases_file, json_cases_file, reference_path, state_file;
  int64_t limit = 0;   // 0: everything
  int max_tokens = 0;  // of an answer; 0: 512
  bool marks_as_text = false;
  bool json = false;

  Marks marks() const { return marks_as_text ? Marks::as_text : Marks::parse; }
};

}  // namespace flashmoe
