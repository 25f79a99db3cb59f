#include "eval/eval_run.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "flashmoe/error.h"
#include "flashmoe/eval.h"
#include "interrupt.h"
#include "model_options.h"
#include "output_file.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr ReadLimit kState = {.bytes = size_t{1} << 30, .what = "the state of an evaluation"};
constexpr double kSaveSeconds = 10;  // between two writes of the state, which holds every score so far

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string show_left(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

std::string fingerprint(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return fmt::format("{:016x}", hash);
}

EvalRun::EvalRun(const EvalOptions& options, nlohmann::json identity)
    : options_(options), identity_(std::move(identity)) {
  catch_interrupts();
  if (options.state_file.empty()) return;
  check_writable(options.state_file);
  identify_models();
  std::error_code error;
  if (!std::filesystem::exists(options.state_file, error)) return;
  const auto state = nlohmann::json::parse(read_regular_text(options.state_file, kState), nullptr, false);
  if (!state.is_object() || !state.contains("identity") || !state.contains("found") ||
      !state.value("n_done", nlohmann::json()).is_number_unsigned()) {
    throw Error(Fault::input, options.state_file + ": this is not the state of an evaluation; name another file");
  }
  if (state["identity"] != identity_) {
    throw Error(Fault::usage, "--state " + options.state_file +
                                  ": it belongs to another evaluation (model, options or text differ); name another "
                                  "file, or remove this one");
  }
  found_ = state["found"];
  n_done_ = state["n_done"].get<size_t>();
}

void EvalRun::identify_models() {
  for (const char* key : {"model", "reference"}) {
    if (!identity_.contains(key)) continue;
    const ModelReport report = Engine::inspect(identity_[key].get<std::string>());
    identity_[std::string(key) + "_files"] = identity_of_files(files_of(report));
  }
  const EngineOptions& engine = options_.engine;
  identity_["exact"] = engine.exact;
  if (const std::string& path = engine.chat_template_path; !path.empty()) {
    identity_["chat_template"] = fingerprint(read_text(path));
  }
  identity_["kv"] = static_cast<int>(engine.kv);
  identity_["kernels"] = static_cast<int>(engine.kernels);
}

std::unique_ptr<Engine> EvalRun::open(const std::string& model_path, EngineOptions options) {
  options.model_path = model_path;
  options.learn = false;  // what is used here says nothing about ordinary use
  options.keep_going = [] { return !interrupted(); };
  options.on_progress = [this](const Progress& step) {
    if (!works_) progress_.show(step);  // loading
  };
  return Engine::open(options);
}

void EvalRun::save() const {
  if (options_.state_file.empty()) return;
  OutputFile file(options_.state_file);
  file.write(nlohmann::json{{"identity", identity_}, {"n_done", n_done_}, {"found", found_}}.dump());
  file.commit();
}

void EvalRun::each(const char* what, size_t n_units, const std::function<void(size_t)>& unit) {
  works_ = true;
  progress_.erase();
  const double start = now_seconds();
  double saved = start;
  const size_t first = n_done_;
  while (n_done_ < n_units) {
    const double spent = now_seconds() - start;
    std::string line = fmt::format("{}  {} of {}", what, n_done_, n_units);
    if (n_done_ > first) {
      const double each_s = spent / static_cast<double>(n_done_ - first);
      line +=
          fmt::format("  {:.3g} s each  {} left", each_s, show_left(each_s * static_cast<double>(n_units - n_done_)));
    }
    progress_.show({.what = line.c_str()});
    try {
      unit(n_done_);
    } catch (const Error& error) {
      progress_.erase();
      save();
      if (error.fault() != Fault::interrupted) throw;
      throw Error(Fault::interrupted, options_.state_file.empty()
                                          ? fmt::format("interrupted after {} of {}; with --state FILE a later run "
                                                        "would go on from there",
                                                        n_done_, n_units)
                                          : fmt::format("interrupted after {} of {}; the same command goes on from "
                                                        "there",
                                                        n_done_, n_units));
    }
    ++n_done_;
    if (now_seconds() - saved < kSaveSeconds) continue;
    save();
    saved = now_seconds();
  }
  save();
  progress_.erase();
}

}  // namespace flashmoe
