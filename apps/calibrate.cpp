// flashmoe calibrate: which input columns of a model's matrices matter, measured on text.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "eval/evaluations.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/session.h"
#include "interrupt.h"
#include "model_options.h"
#include "option_values.h"
#include "output_file.h"
#include "terminal.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "The more the text is like what the model will be used for, the better; some\n"
    "100,000 tokens are enough for most. docs/formats.md describes the file.\n"
    "\n"
    "Example:\n"
    "  flashmoe calibrate -m bf16/ --text chats.txt --out chats.imatrix";

constexpr int kWindowTokens = 1024;

struct Chosen {
  EngineOptions engine;
  std::string text_file, conversations_file, out_file;
  int64_t limit = 0;
};

// Windows of text, or conversations, each a sequence of its own.
std::vector<std::vector<int32_t>> to_sequences(const Chosen& chosen, const std::string& text, const Engine& engine) {
  std::vector<std::vector<int32_t>> sequences;
  const auto most = static_cast<size_t>(chosen.engine.context_tokens);
  if (!chosen.conversations_file.empty()) {
    for (auto& request : parse_requests(text, shown_path(chosen.conversations_file), chosen.limit)) {
      request["add_generation_prompt"] = false;
      sequences.push_back(engine.chat_prompt(request.dump()));
      sequences.back().resize(std::min(sequences.back().size(), most));
    }
    return sequences;
  }
  const std::vector<int32_t> ids = engine.tokenize(text, Marks::parse);
  if (ids.empty()) throw Error(Fault::input, shown_path(chosen.text_file) + ": there is no text in it");
  for (size_t first = 0; first < ids.size(); first += most) {
    if (chosen.limit > 0 && sequences.size() >= static_cast<size_t>(chosen.limit)) break;
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(first);
    sequences.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(std::min(most, ids.size() - first)));
  }
  return sequences;
}

std::string_view bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Safetensors: NAME [cols] or [experts, cols], and NAME.counts [1] or [experts].
void write_importance(const std::string& path, const std::vector<ColumnImportance>& all, const ModelReport& model,
                      int64_t n_tokens) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "flashmoe-imatrix-1"},
                            {"model", model.name.empty() ? model.path : model.name},
                            {"family", model.family},
                            {"tokens", std::to_string(n_tokens)}};
  std::vector<std::vector<float>> counts;
  uint64_t at = 0;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, size_t n_values) {
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {at, at + n_values * sizeof(float)}}};
    at += n_values * sizeof(float);
  };
  for (const ColumnImportance& one : all) {
    const auto n = static_cast<int64_t>(one.counts.size());
    add(one.name, n == 1 ? std::vector<int64_t>{one.cols} : std::vector<int64_t>{n, one.cols}, one.mean_squares.size());
    add(one.name + ".counts", {n}, one.counts.size());
    counts.emplace_back(one.counts.begin(), one.counts.end());
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(json.size() >> (8 * i));
  OutputFile file(path);
  file.write(length + json);
  for (size_t i = 0; i < all.size(); ++i) {
    file.write(bytes_of(all[i].mean_squares));
    file.write(bytes_of(counts[i]));
  }
  file.commit();
}

// Of activations that are NaN or infinite nothing can be told.
void check_finite(const std::vector<ColumnImportance>& all, const std::string& out_file) {
  for (const ColumnImportance& one : all) {
    if (std::ranges::all_of(one.mean_squares, [](float value) { return std::isfinite(value); })) continue;
    throw Error(Fault::input, fmt::format("activations before {} are NaN or infinite: the model's weights or its "
                                          "computation are broken; {} was not written",
                                          one.name, out_file));
  }
}

int calibrate(Chosen& chosen) {
  if (chosen.text_file.empty() && chosen.conversations_file.empty()) {
    throw Error(Fault::usage, "calibrate needs one of --text and --conversations");
  }
  const std::string& from = chosen.text_file.empty() ? chosen.conversations_file : chosen.text_file;
  check_writable(chosen.out_file, {from});
  const std::string text = read_text(from);
  if (chosen.engine.context_tokens == 0) chosen.engine.context_tokens = kWindowTokens;
  chosen.engine.exact = true;
  chosen.engine.learn = false;
  chosen.engine.model_path = model_or_builtin(chosen.engine.model_path);
  ProgressLine progress;
  catch_interrupts();
  size_t n_done = 0, n_all = 0;
  uint64_t tokens_done = 0, tokens = 0;
  chosen.engine.keep_going = [&] {
    if (interrupted()) throw Error(Fault::interrupted, "interrupted; " + chosen.out_file + " was not written");
    return true;
  };
  double seconds = 0;
  chosen.engine.on_progress = [&](const Progress& step) {
    if (n_all == 0) return progress.show(step);  // loading
    const double all_seconds = seconds + step.seconds, done = static_cast<double>(tokens_done + step.done);
    const double left = done > 0 ? all_seconds / done * (static_cast<double>(tokens) - done) : 0;
    const std::string line = fmt::format("calibrating  {} of {}  {:.0f} tok/s  {:.0f} s left", n_done, n_all,
                                         all_seconds > 0 ? done / all_seconds : 0, left);
    progress.show({.what = line.c_str()});
  };
  const auto engine = Engine::open(chosen.engine);
  check_writable(chosen.out_file, files_of(engine->report()));
  const std::vector<std::vector<int32_t>> sequences = to_sequences(chosen, text, *engine);
  engine->load(chosen.engine.context_tokens);
  engine->start_calibration();
  n_all = sequences.size();
  for (const auto& ids : sequences) tokens += ids.size();
  for (; n_done < n_all; ++n_done) {
    const auto session = engine->new_session();
    session->prefill(sequences[n_done]);
    tokens_done += sequences[n_done].size();
    seconds += session->stats().prompt.seconds;
  }
  progress.erase();
  const std::vector<ColumnImportance> importance = engine->importance();
  check_finite(importance, chosen.out_file);
  write_importance(chosen.out_file, importance, engine->report(), static_cast<int64_t>(tokens));
  return kExitOk;
}

}  // namespace

Command add_calibrate(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  CLI::App* options = cli.add_subcommand("calibrate", "Measure which columns of a model's matrices matter");
  auto* text = options->add_option("--text", chosen->text_file, "The text; marks in it are marks");
  text->option_text("FILE")->check(not_empty);
  options
      ->add_option("--conversations", chosen->conversations_file,
                   "Instead: chat requests, one JSON object a line, answers included")
      ->option_text("FILE")
      ->check(not_empty)
      ->excludes(text);
  add_output(*options, chosen->out_file, "The importance file to write");
  add_number(*options, "--limit", chosen->limit, int64_t{1}, std::numeric_limits<int64_t>::max(),
             "Only the first N windows of --ctx tokens, or N conversations");
  add_model_options(*options, chosen->engine);
  options->footer(kFooter);
  return {options, [chosen] { return calibrate(*chosen); }};
}

}  // namespace flashmoe
