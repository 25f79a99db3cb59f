// flashmoe run: a prompt in, the model's answer on standard output as it comes.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "answer_options.h"
#include "commands.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/session.h"
#include "interrupt.h"
#include "model_options.h"
#include "option_values.h"
#include "output_file.h"
#include "prompt_request.h"
#include "statistics.h"
#include "terminal.h"
#include "text_input.h"
#include "trace_options.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "The prompt is -p, or a file, or what comes through a pipe.\n"
    "\n"
    "Examples:\n"
    "  flashmoe run -p \"Explain quantum computing.\"\n"
    "  flashmoe run -m model.gguf --ram 8G -n 200 --timing -p \"Hello\"\n"
    "  flashmoe run -m model/ --temp 0.7 --top-p 0.95 --seed 7 < question.txt\n"
    "  flashmoe run --raw -p \"Once upon a time\"\n"
    "  flashmoe run --chat request.json --stats-json stats.json";

// Tokens to leave room for behind a long prompt when -n does not say.
constexpr int64_t kUsualAnswer = 1024;

struct RunOptions {
  EngineOptions engine;
  GenerateOptions generate;
  std::string prompt, prompt_file, chat_file, system, stats_file;
  bool has_prompt = false, raw = false, no_think = false, timing = false, quiet = false;
};

void add_prompt_options(CLI::App& cli, RunOptions& run) {
  const auto take_prompt = [&run](const std::string& text) {
    run.prompt = text;
    run.has_prompt = true;
  };
  auto* prompt = cli.add_option_function<std::string>("-p,--prompt", take_prompt, "The prompt")->option_text("TEXT");
  auto* file = cli.add_option("--file", run.prompt_file, "Read the prompt from a file; - is standard input");
  auto* chat = cli.add_option("--chat", run.chat_file,
                              "Read an OpenAI-shaped JSON request with messages and tools; - is standard input");
  file->option_text("FILE")->check(not_empty)->excludes(prompt);
  chat->option_text("FILE")->check(not_empty)->excludes(prompt)->excludes(file);
  auto* system = cli.add_option("--system", run.system, "The system message")->option_text("TEXT")->excludes(chat);
  cli.add_flag("--no-think", run.no_think, "Ask for the answer without thinking first");
  cli.add_flag("--raw", run.raw, "No chat template: continue the text; marks such as <|im_end|> in it count")
      ->excludes(system)
      ->excludes(chat)
      ->excludes("--no-think")
      ->excludes(add_chat_template(cli, run.engine));
}

void add_report_options(CLI::App& cli, RunOptions& run) {
  constexpr const char* kGroup = "Statistics";
  cli.add_flag("--timing", run.timing, "Time the nine stages per kind of layer")->group(kGroup);
  cli.add_option("--stats-json", run.stats_file, "Write the statistics as JSON")
      ->option_text("FILE")
      ->check(not_standard_output)
      ->group(kGroup);
  cli.add_flag("--quiet", run.quiet, "No statistics on standard error")->group(kGroup);
}

// The one source of the prompt that was named, or a pipe.
std::string take_prompt(const RunOptions& run) {
  std::string prompt;
  if (run.has_prompt) {
    prompt = run.prompt;
  } else if (!run.prompt_file.empty()) {
    prompt = read_text(run.prompt_file);
  } else if (!is_terminal(STDIN_FILENO)) {
    prompt = read_text("-");
  } else {
    throw Error(Fault::usage, "a prompt is missing: give -p TEXT, --file FILE or --chat FILE, or pipe it in");
  }
  if (prompt.empty()) throw Error(Fault::usage, "the prompt is empty");
  return prompt;
}

void check(const RunOptions& run) {
  check_answer_options(run.generate);
  if (run.quiet && run.timing && run.stats_file.empty()) {
    throw Error(Fault::usage, "--timing has nowhere to go: drop --quiet, or add --stats-json FILE");
  }
  const std::vector<std::string> read = {run.prompt_file, run.chat_file};
  if (!run.stats_file.empty()) {
    check_writable(run.stats_file, read);
    if (name_one_file(run.stats_file, run.engine.trace.path)) {
      throw Error(Fault::usage, "--stats-json and --trace name the same file");
    }
  }
  check_trace(run.engine.trace, read);
}

void tell(const std::string& note) { write_error("flashmoe: note: " + note + "\n"); }

// What was typed, before a model is there to turn it into tokens.
struct Question {
  std::string text;  // raw text, or the JSON of a request
  bool raw = false;
};

Question read_question(const RunOptions& run) {
  if (run.raw) return {take_prompt(run), true};
  if (run.chat_file.empty()) return {ask(take_prompt(run), run.system, run.no_think).json, false};
  const std::string name = shown_path(run.chat_file);
  PromptRequest request = read_request(read_text(run.chat_file), name, run.no_think);
  for (const std::string& field : request.unread) {
    tell(fmt::format("{}: \"{}\" is not read from a request; options of flashmoe run choose it", name, field));
  }
  return {std::move(request.json), false};
}

std::vector<int32_t> to_ids(const Engine& engine, const Question& question) {
  if (question.raw) return engine.tokenize(question.text, Marks::parse);
  if (engine.report().has_tokenizer && !engine.report().has_chat_template) {
    throw Error(Fault::unsupported, engine.report().path + ": has no chat template; use --raw to continue plain text");
  }
  return engine.chat_prompt(question.text);
}

// Prefill and decode. Being interrupted is an answer too, only shorter.
StopReason answer(Session& session, const std::vector<int32_t>& ids, const RunOptions& run, StandardOutput& out,
                  ProgressLine& progress) {
  try {
    session.prefill(ids);
    const auto on_text = [&](std::string_view piece) {
      progress.erase();
      return out.write(piece) && !interrupted();
    };
    return session.generate(run.generate, on_text).reason;
  } catch (const Error& error) {
    progress.erase();
    if (is_terminal(STDOUT_FILENO)) out.end_line();  // the message starts a line of its own
    if (error.fault() != Fault::interrupted) throw;
    return StopReason::interrupted;
  }
}

void report(const RunOptions& run, const Stats& stats, StopReason reason) {
  if (!run.quiet) write_error(statistics_text(stats, reason) + (run.timing ? timing_table(stats.stages) : ""));
  if (run.stats_file.empty()) return;
  OutputFile file(run.stats_file);
  file.write(statistics_json(stats, reason, run.timing));
  file.commit();
}

int run_model(RunOptions& run) {
  check(run);
  const Question question = read_question(run);
  ProgressLine progress;
  StandardOutput out;
  catch_interrupts();
  run.engine.model_path = model_or_builtin(run.engine.model_path);
  run.engine.on_progress = [&](const Progress& step) { progress.show(step); };
  run.engine.keep_going = [] { return !interrupted(); };
  const std::unique_ptr<Engine> engine = Engine::open(run.engine);
  const std::vector<std::string> files = files_of(engine->report());
  if (!run.stats_file.empty()) check_writable(run.stats_file, files);
  check_trace(run.engine.trace, files);
  for (const std::string& note : engine->notes()) tell(note);

  const auto start = std::chrono::steady_clock::now();
  const std::vector<int32_t> ids = to_ids(*engine, question);
  const auto tokenise_time = std::chrono::steady_clock::now() - start;
  engine->load(static_cast<int64_t>(ids.size()), run.generate.max_tokens > 0 ? run.generate.max_tokens : kUsualAnswer);
  progress.erase();
  const std::unique_ptr<Session> session = engine->new_session();
  session->set_timing(run.timing);
  const StopReason reason = answer(*session, ids, run, out, progress);
  progress.erase();
  out.end_line();

  Stats stats = session->stats();
  stats.stages.ns[static_cast<size_t>(LayerKind::model)][static_cast<size_t>(Stage::tokenise)] +=
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(tokenise_time).count());
  report(run, stats, reason);
  tell_trace_end(run.engine.trace, engine->end_trace());
  return reason == StopReason::interrupted && interrupted() ? interrupted_exit_code() : kExitOk;
}

}  // namespace

Command add_run(CLI::App& cli) {
  auto run = std::make_shared<RunOptions>();
  CLI::App* options = cli.add_subcommand("run", "Answer a prompt");
  add_prompt_options(*options, *run);
  add_answer_options(*options, run->generate);
  add_report_options(*options, *run);
  add_trace_options(*options, run->engine.trace);
  add_model_options(*options, run->engine);
  options->footer(kFooter);
  return {options, [run] { return run_model(*run); }};
}

}  // namespace flashmoe
