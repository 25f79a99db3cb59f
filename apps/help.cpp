#include "help.h"

#include <sstream>

namespace flashmoe {
namespace {

constexpr size_t kColumns = 80;
constexpr size_t kTextColumn = 28;  // where descriptions start

// "  name      description", the description wrapped and indented.
std::string entry(const std::string& name, const std::string& description) {
  std::string out = "  " + name;
  size_t column = out.size();
  if (column + 2 > kTextColumn) {
    out += '\n';
    column = 0;
  }
  out.append(kTextColumn - column, ' ');
  column = kTextColumn;
  std::istringstream words(description);
  bool first = true;
  for (std::string word; words >> word; first = false) {
    if (!first && column + 1 + word.size() > kColumns) {
      out += '\n' + std::string(kTextColumn, ' ');
      column = kTextColumn;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + '\n';
}

// "-o, --out": further long names are there for habit's sake.
std::string flags_of(const CLI::Option& option) {
  const auto& shorts = option.get_snames();
  const auto& longs = option.get_lnames();
  std::string names = shorts.empty() ? "" : "-" + shorts.front();
  if (!longs.empty()) names += (names.empty() ? "--" : ", --") + longs.front();
  return names;
}

}  // namespace

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  std::string name = is_positional ? make_option_name(option, true) : flags_of(*option);
  if (!is_positional && !option->get_option_text().empty()) name += " " + option->get_option_text();
  return entry(name, option->get_description());
}

std::string HelpFormatter::make_subcommand(const CLI::App* subcommand) const {
  return entry(subcommand->get_name(), subcommand->get_description());
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
  std::string page = CLI::Formatter::make_help(app, std::move(name), mode);
  page.insert(page.find("Usage:"), "\n");
  for (size_t at = 0; (at = page.find("\n\n\n", at)) != std::string::npos;) page.erase(at, 1);
  return page;
}

}  // namespace flashmoe
