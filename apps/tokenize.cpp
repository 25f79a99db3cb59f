// flashmoe tokenize: text to token ids, and back.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <sstream>
#include <string>

#include "commands.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "model_options.h"
#include "terminal.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  flashmoe tokenize -m model.gguf \"Hello world\"\n"
    "  flashmoe tokenize -m model.gguf - < text.txt > ids.txt\n"
    "  flashmoe tokenize -m model.gguf --ids - < ids.txt";

struct TokenizeOptions {
  EngineOptions engine;
  std::string text;
  std::vector<std::string> ids;
  bool no_marks = false;
};

std::string ids_text(const std::vector<int32_t>& ids) { return fmt::format("{}\n", fmt::join(ids, " ")); }

std::vector<int32_t> given_ids(const std::vector<std::string>& arguments) {
  std::vector<int32_t> ids;
  std::istringstream words(fmt::format("{}", fmt::join(arguments, " ")));
  for (std::string word; words >> word;) {
    const auto id = parse_id(word);
    if (!id) throw Error(Fault::usage, fmt::format("--ids: a token id is expected, not '{}'", word));
    ids.push_back(*id);
  }
  if (ids.empty()) throw Error(Fault::usage, "--ids: no token ids in it");
  return ids;
}

int tokenize(TokenizeOptions& options, bool has_text) {
  const bool backwards = !options.ids.empty();
  if (has_text == backwards) throw Error(Fault::usage, "give either TEXT or --ids; see 'flashmoe tokenize --help'");
  if (backwards && options.no_marks) throw Error(Fault::usage, "--no-marks is about TEXT and means nothing with --ids");
  std::vector<int32_t> ids;
  if (backwards) {
    const bool piped = options.ids.size() == 1 && options.ids.front() == "-";
    ids = piped ? parse_ids(read_text("-"), shown_path("-")) : given_ids(options.ids);
  } else if (options.text == "-") {
    options.text = read_text("-");
  }
  options.engine.model_path = model_or_builtin(options.engine.model_path);
  const std::unique_ptr<Engine> engine = Engine::open(options.engine);
  StandardOutput out;
  const Marks marks = options.no_marks ? Marks::as_text : Marks::parse;
  out.write(backwards ? engine->detokenize(ids) : ids_text(engine->tokenize(options.text, marks)));
  if (is_terminal(STDOUT_FILENO)) out.end_line();  // elsewhere the text stays as it is, byte for byte
  return kExitOk;
}

}  // namespace

Command add_tokenize(CLI::App& cli) {
  auto chosen = std::make_shared<TokenizeOptions>();
  CLI::App* options = cli.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  add_model_path(*options, chosen->engine.model_path);
  const CLI::Option* text = options->add_option("TEXT", chosen->text, "The text; - is standard input");
  options->add_option("--ids", chosen->ids, "Token ids to turn into text; - reads them from standard input")
      ->option_text("ID...");
  options->add_flag("--no-marks", chosen->no_marks, "Treat marks such as <|im_end|> in TEXT as plain text");
  options->footer(kFooter);
  return {options, [chosen, text] { return tokenize(*chosen, text->count() > 0); }};
}

}  // namespace flashmoe
