// A row of independent units (windows, conversations, cases) worked through in order: progress with the time left, what
// is known so far kept in a file, Ctrl-C between and within units.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "eval/eval_options.h"
#include "flashmoe/engine.h"
#include "terminal.h"

namespace flashmoe {

// FNV-1a, for telling whether a state file belongs to the same input.
std::string fingerprint(std::string_view bytes);

class EvalRun {
 public:
  // `identity`: all that decides the results, beside what the options say of the engine; "model" and "reference" are
  // paths, and what is there counts too. A state file of another identity is refused with Error{usage}.
  EvalRun(const EvalOptions& options, nlohmann::json identity);

  // Of a model, with these options and the evaluation's Ctrl-C and progress.
  std::unique_ptr<Engine> open(const std::string& model_path, EngineOptions options);

  // What the units have found: plain numbers and lists. One that was resumed has those of the units done before. A unit
  // adds to it as its last act: one that fails has added nothing.
  nlohmann::json& found() { return found_; }

  // Calls unit(i) for each that is not done yet. Throws Error{interrupted} that says how to go on.
  void each(const char* what, size_t n_units, const std::function<void(size_t)>& unit);

 private:
  void identify_models();
  void save() const;

  const EvalOptions& options_;
  nlohmann::json identity_, found_ = nlohmann::json::object();
  size_t n_done_ = 0;
  bool works_ = false;  // on units: models are loaded
  ProgressLine progress_;
};

}  // namespace flashmoe
