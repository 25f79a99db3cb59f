#include "session_options.h"

#include <cstdlib>

#include "flashmoe/error.h"
#include "option_values.h"

namespace flashmoe {

CLI::Option* add_session_options(CLI::App& cli, ServiceOptions& service, const std::string& usually) {
  CLI::Option* folder =
      cli.add_option("--sessions", service.sessions_folder,
                     "Folder where what the model made of conversations is kept, so that they go on after a restart "
                     "without being read again; default: " +
                         usually)
          ->option_text("DIR")
          ->check(not_empty);
  add_size(cli, "--sessions-size", service.most_session_bytes,
           "Most bytes in that folder; what was used longest ago goes first; default: 4G");
  return folder;
}

std::string user_data_folder_if_any(const std::string& name) {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::string(data) + "/flashmoe/" + name;
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.local/share/flashmoe/" + name;
  return "";
}

std::string user_data_folder(const std::string& name) {
  std::string folder = user_data_folder_if_any(name);
  if (folder.empty()) {
    throw Error(Fault::usage, "neither HOME nor XDG_DATA_HOME says where chats are kept; set one, or give --no-save");
  }
  return folder;
}

}  // namespace flashmoe
