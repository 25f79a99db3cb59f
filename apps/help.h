// Help pages that fit 80 columns.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace flashmoe {

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* subcommand) const override;
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

}  // namespace flashmoe
