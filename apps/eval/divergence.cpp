#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/eval_run.h"
#include "eval/evaluations.h"
#include "eval/scores.h"
#include "flashmoe/error.h"
#include "flashmoe/session.h"
#include "model_options.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr int kWindowTokens = 1024;
constexpr size_t kHeldRows = 64;  // of the reference's logits, at least a block

struct WindowScores {
  std::vector<double> nats;  // per scored token
  int64_t same_top = 0;
  double reference_surprise = 0, model_surprise = 0;
};

WindowScores compare(Engine& reference_engine, Engine& model_engine, std::span<const int32_t> ids, size_t n_context) {
  const auto reference = reference_engine.new_session(), model = model_engine.new_session();
  const auto vocab = static_cast<size_t>(reference_engine.report().vocab_size);
  WindowScores scores;
  const auto start = static_cast<size_t>(reference->whole_blocks(ids.first(n_context - 1)));
  if (start > 0) {
    reference->prefill(ids.first(start));
    model->prefill(ids.first(start));
  }
  std::vector<float> held;
  for (size_t at = start; at + 1 < ids.size();) {
    auto piece = ids.subspan(at, std::min(kHeldRows, ids.size() - 1 - at));
    if (const int64_t n = reference->whole_blocks(piece); n > 0) piece = piece.first(static_cast<size_t>(n));
    held.resize(piece.size() * vocab);
    reference->logits(piece, [&](int64_t row, std::span<const float> logits) {
      std::copy(logits.begin(), logits.end(), held.begin() + row * static_cast<std::ptrdiff_t>(vocab));
    });
    model->logits(piece, [&](int64_t row, std::span<const float> logits) {
      const size_t next = at + 1 + static_cast<size_t>(row);
      if (next < n_context) return;
      const auto want = std::span<const float>(held).subspan(static_cast<size_t>(row) * vocab, vocab);
      const Divergence apart = divergence(want, logits);
      scores.nats.push_back(apart.nats);
      scores.same_top += apart.same_top ? 1 : 0;
      scores.reference_surprise += surprise(want, ids[next]);
      scores.model_surprise += surprise(logits, ids[next]);
    });
    at += piece.size();
  }
  return scores;
}

void add(EvalRun& run, const WindowScores& scores) {
  nlohmann::json& found = run.found();
  if (found.empty()) found = {{"nats", nlohmann::json::array()}, {"same_top", 0}, {"reference", 0.0}, {"model", 0.0}};
  for (const double nats : scores.nats) found["nats"].push_back(nats);
  found["same_top"] = found["same_top"].get<int64_t>() + scores.same_top;
  found["reference"] = found["reference"].get<double>() + scores.reference_surprise;
  found["model"] = found["model"].get<double>() + scores.model_surprise;
}

// Mirrors hold copies of the model that is measured.
EngineOptions of_reference(EngineOptions engine) {
  engine.mirrors.clear();
  return engine;
}

// Two models that are loaded side by side would each take all that is free.
EngineOptions with_half_of_memory(EvalRun& run, const EvalOptions& options) {
  EngineOptions half = options.engine;
  half.ram_source = "half of --ram";
  if (half.ram_bytes == 0) {
    const MemoryPlan plan =
        run.open(options.reference_path, of_reference(options.engine))->plan(options.engine.context_tokens);
    half.ram_bytes = plan.limit_bytes;
    half.ram_source = "half of " + plan.limit_source;
  }
  half.ram_bytes /= 2;
  return half;
}

// Of two models the one that does not fit is named.
void load(Engine& engine, int64_t context_tokens) {
  try {
    engine.load(context_tokens);
  } catch (const Error& error) {
    if (error.fault() != Fault::memory_floor) throw;
    throw Error(Fault::memory_floor, engine.report().path + ": " + error.what());
  }
}

}  // namespace

nlohmann::ordered_json evaluate_divergence(const EvalOptions& given) {
  EvalOptions options = given;
  if (options.engine.context_tokens == 0) options.engine.context_tokens = kWindowTokens;
  const std::string text = read_text(options.text_file), model_path = model_or_builtin(options.engine.model_path);
  EvalRun run(options, {{"kind", "divergence"},
                        {"model", model_path},
                        {"reference", options.reference_path},
                        {"text", fingerprint(text)},
                        {"ctx", options.engine.context_tokens},
                        {"limit", options.limit},
                        {"marks_as_text", options.marks_as_text}});
  const EngineOptions half = with_half_of_memory(run, options);
  const auto reference = run.open(options.reference_path, of_reference(half)), model = run.open(model_path, half);
  const std::vector<int32_t> ids = model->tokenize(text, options.marks());
  if (reference->report().vocab_size != model->report().vocab_size ||
      reference->tokenize(text, options.marks()) != ids) {
    throw Error(Fault::input, fmt::format("--reference {}: it has another vocabulary than {}; only models that read a "
                                          "text as the same tokens can be compared",
                                          options.reference_path, model_path));
  }
  auto windows = make_windows(ids.size(), static_cast<size_t>(options.engine.context_tokens));
  if (options.limit > 0) windows.resize(std::min(windows.size(), static_cast<size_t>(options.limit)));
  if (windows.empty())
    throw Error(Fault::input, shown_path(options.text_file) + ": there is nothing to score: it is too short");
  load(*reference, options.engine.context_tokens);
  load(*model, options.engine.context_tokens);
  run.each("divergence: window", windows.size(), [&](size_t i) {
    const Window& window = windows[i];
    add(run, compare(*reference, *model, std::span(ids).subspan(window.first, window.n), window.n_context));
  });
  const auto nats = run.found()["nats"].get<std::vector<double>>();
  const auto n = static_cast<double>(nats.size());
  return {{"model", model_path},
          {"reference", options.reference_path},
          {"exact", options.engine.exact},
          {"tokens", nats.size()},
          {"kl_mean", mean(nats)},
          {"kl_median", percentile(nats, 0.5)},
          {"kl_p99", percentile(nats, 0.99)},
          {"same_top", static_cast<double>(run.found()["same_top"].get<int64_t>()) / n},
          {"perplexity", std::exp(run.found()["model"].get<double>() / n)},
          {"reference_perplexity", std::exp(run.found()["reference"].get<double>() / n)}};
}

}  // namespace flashmoe
