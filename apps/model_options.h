// The options that every subcommand with a running model shares.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "flashmoe/engine.h"
#include "flashmoe/options.h"

namespace flashmoe {

// -m alone.
void add_model_path(CLI::App& cli, std::string& path);
// -m, memory, threads, kernels, input and output.
void add_model_options(CLI::App& cli, EngineOptions& options);

// --chat-template, where chats are read.
CLI::Option* add_chat_template(CLI::App& cli, EngineOptions& options);

// For a subcommand that works without a model as well, `instead` of one: what only a model can honour needs -m.
void make_model_optional(CLI::App& cli, const std::string& instead);

// All files of a model, those beside the weights too.
std::vector<std::string> files_of(const ModelReport& model);

// The path as given, or where the built-in model is. Throws Error{input} if that is not installed.
std::string model_or_builtin(const std::string& path);

}  // namespace flashmoe
