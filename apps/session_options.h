// Where conversations that were read are kept between runs: the options, and the usual place.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "flashmoe/service.h"

namespace flashmoe {

// --sessions and --sessions-size. `usually`: what the help says happens without --sessions.
CLI::Option* add_session_options(CLI::App& cli, ServiceOptions& service, const std::string& usually);

// $XDG_DATA_HOME/flashmoe/`name`, or ~/.local/share/flashmoe/`name`. Throws Error{usage} where neither is known.
std::string user_data_folder(const std::string& name);
std::string user_data_folder_if_any(const std::string& name);  // empty where neither is known

}  // namespace flashmoe
