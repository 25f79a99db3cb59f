// flashmoe eval: how good a model is, in numbers: perplexity, distance from another, tool calls and JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "eval/eval_options.h"
#include "eval/evaluations.h"
#include "flashmoe/error.h"
#include "json.h"
#include "model_options.h"
#include "option_values.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "ppl    perplexity of --text in windows of --ctx tokens (default 1024; the second\n"
    "       half of each is scored), or of the assistant's turns in --conversations\n"
    "kld    KL divergence from --reference on --text, in the same windows; each\n"
    "       model gets half of --ram; --mirror has copies of the model of -m\n"
    "tools  well-formed and exact tool calls of --cases, valid JSON of --json-cases;\n"
    "       greedy\n"
    "\n"
    "Examples:\n"
    "  flashmoe eval ppl -m model.gguf --text held-out.txt\n"
    "  flashmoe eval kld -m small.gguf --reference bf16/ --text held-out.txt --exact\n"
    "  flashmoe eval tools -m model.gguf --cases cases.jsonl --json > tools.json";

void require(bool given, const char* message) {
  if (!given) throw Error(Fault::usage, message);
}

void check(const EvalOptions& options) {
  const bool text = !options.text_file.empty(), turns = !options.conversations_file.empty();
  const bool cases = !options.cases_file.empty() || !options.json_cases_file.empty();
  const bool reference = !options.reference_path.empty();
  const bool answers = options.kind == EvalKind::tools;
  require(answers || options.max_tokens == 0, "--max-tokens bounds answers, and only eval tools has any");
  require(text || !options.marks_as_text, "--marks-as-text is about the text of --text");
  require(!text || options.engine.chat_template_path.empty(), "--chat-template is about conversations and cases");
  require(!text || options.engine.context_tokens != 1, "--ctx 1: of a window the second half is scored; 2 at least");
  switch (options.kind) {
    case EvalKind::perplexity:
      require(text || turns, "eval ppl needs one of --text and --conversations");
      require(!text || !turns, "--text excludes --conversations");
      require(!cases && !reference, "eval ppl does not take --cases, --json-cases or --reference");
      break;
    case EvalKind::divergence:
      require(text && reference, "eval kld needs --reference and --text");
      require(!cases && !turns, "eval kld does not take --cases, --json-cases or --conversations");
      break;
    case EvalKind::tools:
      require(cases, "eval tools needs --cases or --json-cases");
      require(!text && !turns && !reference, "eval tools does not take --text, --conversations or --reference");
      break;
  }
}

void print(std::string& text, const std::string& name, const Json& value) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) print(text, name + " " + key, inner);
    return;
  }
  const std::string shown = value.is_string()         ? value.get<std::string>()
                            : value.is_number_float() ? fmt::format("{:.6f}", value.get<double>())
                                                      : value.dump();
  text += fmt::format("{:<32}{}\n", name, shown);
}

int evaluate(const EvalOptions& options) {
  check(options);
  const Json result = options.kind == EvalKind::perplexity   ? evaluate_perplexity(options)
                      : options.kind == EvalKind::divergence ? evaluate_divergence(options)
                                                             : evaluate_tools(options);
  std::string text;
  if (options.json) {
    text = dump(result, 2) + "\n";
  } else {
    for (const auto& [key, value] : result.items()) print(text, key, value);
  }
  StandardOutput().write(text);
  return kExitOk;
}

CLI::Option* add_file(CLI::App& cli, const char* name, std::string& target, const char* description) {
  return cli.add_option(name, target, description)->option_text("FILE")->check(not_empty);
}

}  // namespace

Command add_eval(CLI::App& cli) {
  auto chosen = std::make_shared<EvalOptions>();
  CLI::App* options =
      cli.add_subcommand("eval", "Measure quality: perplexity, distance from another model, tool calls");
  add_choice<EvalKind>(*options, "WHAT", chosen->kind,
                       {{"ppl", EvalKind::perplexity}, {"kld", EvalKind::divergence}, {"tools", EvalKind::tools}},
                       "What to measure: ppl, kld or tools")
      ->required();
  add_file(*options, "--text", chosen->text_file, "ppl, kld: the text; marks in it are marks");
  options->add_flag("--marks-as-text", chosen->marks_as_text,
                    "ppl, kld: marks such as <|im_end|> in the text are text");
  add_file(*options, "--conversations", chosen->conversations_file,
           "ppl: chat requests, one JSON object a line, answers included");
  add_file(*options, "--cases", chosen->cases_file, "tools: chat requests with the calls they \"want\"");
  add_file(*options, "--json-cases", chosen->json_cases_file, "tools: chat requests that must be answered with JSON");
  options->add_option("--reference", chosen->reference_path, "kld: the model to compare with")
      ->option_text("MODEL")
      ->check(not_empty);
  add_number(*options, "--limit", chosen->limit, int64_t{1}, std::numeric_limits<int64_t>::max(),
             "Only the first N windows, conversations or cases of each file");
  add_number(*options, "--max-tokens", chosen->max_tokens, 1, 1 << 20, "tools: longest answer; default 512");
  add_file(*options, "--state", chosen->state_file, "Keep what is known so far here; the same command goes on from it")
      ->check(not_standard_output);
  options->add_flag("--json", chosen->json, "Print the result as JSON");
  add_chat_template(*options, chosen->engine);
  add_model_options(*options, chosen->engine);
  options->footer(kFooter);
  return {options, [chosen] { return evaluate(*chosen); }};
}

}  // namespace flashmoe
