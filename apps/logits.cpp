// flashmoe logits: token ids in, the logits after each of them out, for scripts and tests.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "commands.h"
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
    "FILE is safetensors with one tensor, logits [ids, vocabulary], in 32-bit floats.\n"
    "\n"
    "Example:\n"
    "  echo 1 2 3 | flashmoe logits -m model.gguf --ids - --out logits.safetensors";

struct LogitsOptions {
  EngineOptions engine;
  std::string ids_file, out_file;
};

// The header of a safetensors file with the one tensor `logits` [rows, vocab_size].
std::string safetensors_header(uint64_t rows, uint64_t vocab_size) {
  std::string json = fmt::format(R"({{"logits":{{"dtype":"F32","shape":[{},{}],"data_offsets":[0,{}]}}}})", rows,
                                 vocab_size, rows * vocab_size * sizeof(float));
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string header(8, '\0');
  for (size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(json.size() >> (8 * i));
  return header + json;
}

int write_logits(LogitsOptions& options) {
  check_writable(options.out_file, {options.ids_file});
  const std::vector<int32_t> ids = parse_ids(read_text(options.ids_file), shown_path(options.ids_file));
  ProgressLine progress;
  catch_interrupts();
  options.engine.keep_going = [&options] {
    if (interrupted()) throw Error(Fault::interrupted, "interrupted; " + options.out_file + " was not written");
    return true;
  };
  options.engine.model_path = model_or_builtin(options.engine.model_path);
  options.engine.on_progress = [&](const Progress& step) { progress.show(step); };
  const std::unique_ptr<Engine> engine = Engine::open(options.engine);
  check_writable(options.out_file, files_of(engine->report()));
  engine->load(static_cast<int64_t>(ids.size()));
  const std::unique_ptr<Session> session = engine->new_session();

  OutputFile file(options.out_file);
  file.write(safetensors_header(ids.size(), static_cast<uint64_t>(engine->report().vocab_size)));
  size_t n_broken = 0;
  session->logits(ids, [&](int64_t, std::span<const float> row) {
    n_broken += std::ranges::all_of(row, [](float logit) { return std::isfinite(logit); }) ? 0 : 1;
    file.write({reinterpret_cast<const char*>(row.data()), row.size_bytes()});
  });
  file.commit();
  if (n_broken > 0) {
    write_error(
        fmt::format("flashmoe: note: {} of {} rows hold logits that are NaN or infinite: the model's weights or "
                    "its computation are broken\n",
                    n_broken, ids.size()));
  }
  return kExitOk;
}

}  // namespace

Command add_logits(CLI::App& cli) {
  auto chosen = std::make_shared<LogitsOptions>();
  CLI::App* options = cli.add_subcommand("logits", "Write the logits of a list of token ids");
  options->add_option("--ids", chosen->ids_file, "Token ids, separated by white space; - is standard input")
      ->option_text("FILE")
      ->check(not_empty)
      ->required();
  add_output(*options, chosen->out_file, "The safetensors file to write");
  add_model_options(*options, chosen->engine);
  options->footer(kFooter);
  return {options, [chosen] { return write_logits(*chosen); }};
}

}  // namespace flashmoe
