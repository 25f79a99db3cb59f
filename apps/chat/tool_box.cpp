#include "chat/tool_box.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "flashmoe/error.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr int kMostSeconds = 86400;

Json text_parameters(const std::vector<std::pair<const char*, const char*>>& parameters, size_t n_required) {
  Json properties = Json::object(), required = Json::array();
  for (const auto& [name, description] : parameters) {
    properties[name] = {{"type", "string"}, {"description", description}};
    if (required.size() < n_required) required.push_back(name);
  }
  return {{"type", "object"}, {"properties", properties}, {"required", required}};
}

// Discarded where the model wrote no JSON, or some that is nested without end.
Json arguments_of(const ToolCall& call) {
  if (call.arguments.empty()) return Json::object();
  try {
    return parse_json(call.arguments);
  } catch (const std::exception&) {
    return Json::value_t::discarded;
  }
}

std::string text_of(const Json& arguments, const char* name) {
  return arguments.is_object() && arguments.contains(name) && arguments[name].is_string()
             ? arguments[name].get<std::string>()
             : "";
}

bool has_type(const Json& value, const std::string& type) {
  return (type == "string" && value.is_string()) || (type == "integer" && value.is_number_integer()) ||
         (type == "number" && value.is_number()) || (type == "boolean" && value.is_boolean()) ||
         (type == "array" && value.is_array()) || (type == "object" && value.is_object()) ||
         (type == "null" && value.is_null());
}

std::string signal_text(int signal) { return fmt::format("signal {} ({})", signal, ::strsignal(signal)); }

std::string result_text(const ChildResult& result, int seconds) {
  std::string text = result.out;
  if (!result.err.empty()) {
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
    text += "stderr:\n" + result.err;
  }
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  if (result.timed_out) return text + fmt::format("stopped: it ran for more than {} s", seconds);
  if (result.stopped) return text + "stopped by the user";
  if (result.signal != 0) return text + "ended by " + signal_text(result.signal);
  return text + fmt::format("exit code: {}", result.exit_code);
}

}  // namespace

ToolBox::ToolBox(const std::string& folder, const ChildLimits& limits) : folder_(folder), limits_(limits) {}

void ToolBox::add(Tool tool) {
  if (find(tool.name) != nullptr) throw Error(Fault::input, fmt::format("there are two tools named {}", tool.name));
  tools_.push_back(std::move(tool));
}

void ToolBox::add_own() {
  add({Kind::bash,
       "bash",
       "Run a command with bash.",
       text_parameters({{"command", "The command to run"}}, 1),
       {"bash", "-c", ""},
       limits_.seconds});
  add({Kind::read_file, "read_file", "Read a text file.", text_parameters({{"path", "Path of the file"}}, 1), {}, 0});
  add({Kind::write_file,
       "write_file",
       "Write a text file; one of that name is replaced.",
       text_parameters({{"path", "Path of the file"}, {"content", "All of the file's new text"}}, 2),
       {},
       0});
  add({Kind::list_dir,
       "list_dir",
       "List the files of a folder.",
       text_parameters({{"path", "Path of the folder; default: the working folder"}}, 0),
       {},
       0});
}

ToolBox::Tool ToolBox::read_tool(const Json& json, const std::string& path) const {
  const auto wrong = [&path](const std::string& name, const char* what) -> Error {
    return Error(Fault::input, fmt::format("{}: tool {}: {}", path, name.empty() ? "without a name" : name, what));
  };
  if (!json.is_object()) throw wrong("", "an object is expected");
  Tool tool;
  tool.name = text_of(json, "name");
  tool.description = text_of(json, "description");
  if (tool.name.empty()) throw wrong("", "\"name\" is missing");
  if (!json.contains("command")) throw wrong(tool.name, "\"command\" is missing");
  const Json& command = json["command"];
  if (command.is_string() && command != "") {
    tool.argv = {"bash", "-c", command};
  } else if (command.is_array() && !command.empty() &&
             std::all_of(command.begin(), command.end(), [](const Json& word) { return word.is_string(); })) {
    tool.argv = command.get<std::vector<std::string>>();
  } else {
    throw wrong(tool.name, "\"command\" is a text or a list of texts");
  }
  tool.parameters = json.value("parameters", Json{{"type", "object"}, {"properties", Json::object()}});
  if (!tool.parameters.is_object()) throw wrong(tool.name, "\"parameters\" is a JSON schema");
  const Json seconds = json.value("seconds", Json(limits_.seconds));
  if (!seconds.is_number_integer() || seconds < 1 || seconds > kMostSeconds) {
    throw wrong(tool.name, "\"seconds\" is a whole number from 1 to 86400");
  }
  tool.seconds = seconds;
  return tool;
}

void ToolBox::add_file(const std::string& path) {
  const Json json = Json::parse(read_text(path), nullptr, false);
  if (!json.is_object() || !json.contains("tools") || !json["tools"].is_array()) {
    throw Error(Fault::input, path + ": a JSON object with a list of \"tools\" is expected");
  }
  for (const Json& tool : json["tools"]) add(read_tool(tool, path));
}

const ToolBox::Tool* ToolBox::find(const std::string& name) const {
  const auto found = std::find_if(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
  return found == tools_.end() ? nullptr : &*found;
}

Json ToolBox::definitions() const {
  Json all = Json::array();
  for (const Tool& tool : tools_) {
    all.push_back(
        {{"type", "function"},
         {"function", {{"name", tool.name}, {"description", tool.description}, {"parameters", tool.parameters}}}});
  }
  return all;
}

std::vector<ToolBox::Description> ToolBox::descriptions() const {
  std::vector<Description> all;
  for (const Tool& tool : tools_) all.push_back({tool.name, tool.description});
  return all;
}

std::string ToolBox::shown(const ToolCall& call) const {
  const Tool* tool = find(call.name);
  const Json arguments = arguments_of(call);
  if (tool == nullptr || !arguments.is_object()) return call.name + ": " + call.arguments;
  switch (tool->kind) {
    case Kind::bash:
      return "bash: " + text_of(arguments, "command");
    case Kind::read_file:
      return "read_file: " + text_of(arguments, "path");
    case Kind::list_dir:
      return "list_dir: " + (text_of(arguments, "path").empty() ? "." : text_of(arguments, "path"));
    case Kind::write_file:
      return fmt::format("write_file: {}\n{}", text_of(arguments, "path"), text_of(arguments, "content"));
    case Kind::command:
      break;
  }
  return call.name + ": " + dump(arguments);
}

std::string ToolBox::permission(const ToolCall& call) const {
  const Tool* tool = find(call.name);
  if (tool == nullptr || tool->kind == Kind::bash || tool->kind == Kind::command) {
    const Json arguments = arguments_of(call);
    return call.name + " " + (arguments.is_discarded() ? call.arguments : dump(arguments));
  }
  return call.name;
}

std::optional<std::string> ToolBox::complaint(const ToolCall& call) const {
  const Tool* tool = find(call.name);
  if (tool == nullptr) return "error: there is no tool named " + call.name;
  const Json arguments = arguments_of(call);
  if (!arguments.is_object()) return std::string("error: the arguments are not a JSON object");
  for (const Json& name : tool->parameters.value("required", Json::array())) {
    if (name.is_string() && !arguments.contains(name.get<std::string>())) {
      return fmt::format("error: the argument {} is missing", name.get<std::string>());
    }
  }
  const Json properties = tool->parameters.value("properties", Json::object());
  for (const auto& [name, value] : arguments.items()) {
    if (!properties.is_object() || !properties.contains(name) || !properties[name].is_object()) continue;
    const std::string type = text_of(properties[name], "type");
    if (!type.empty() && !has_type(value, type))
      return fmt::format("error: the argument {} is not of type {}", name, type);
  }
  return std::nullopt;
}

std::string ToolBox::run(const ToolCall& call, const std::function<bool()>& keep_going) const {
  if (auto complaint = this->complaint(call)) return *complaint;
  const Tool& tool = *find(call.name);
  const Json arguments = arguments_of(call);
  const std::string path = text_of(arguments, "path");
  try {
    switch (tool.kind) {
      case Kind::read_file:
        return read_file(path);
      case Kind::list_dir:
        return list_dir(path.empty() ? "." : path);
      case Kind::write_file: {
        const std::string content = text_of(arguments, "content");
        folder_.write(path, content);
        return fmt::format("wrote {} bytes to {}", content.size(), path);
      }
      case Kind::bash:
      case Kind::command:
        return run_command(tool, call, arguments, keep_going);
    }
  } catch (const Error& error) {
    return std::string("error: ") + error.what();
  }
  return "";
}

std::string ToolBox::run_command(const Tool& tool, const ToolCall& call, const Json& arguments,
                                 const std::function<bool()>& keep_going) const {
  std::vector<std::string> argv = tool.argv;
  const bool own = tool.kind == Kind::bash;
  if (own) argv.back() = text_of(arguments, "command");
  for (const std::string& word : argv) {
    if (word.find('\0') != std::string::npos) return "error: the command has a zero byte in it";
  }
  const ChildLimits limits = {tool.seconds, limits_.output_bytes};
  const std::string input = own ? "" : (call.arguments.empty() ? "{}" : call.arguments) + "\n";
  return result_text(run_child(argv, folder_.descriptor(), input, limits, keep_going), tool.seconds);
}

std::string ToolBox::read_file(const std::string& path) const {
  size_t total = 0;
  std::string text = folder_.read(path, limits_.output_bytes, &total);
  if (text.find('\0') != std::string::npos) return fmt::format("error: {} is not a text file", path);
  if (total > text.size()) text += fmt::format("\n[{} of {} bytes left out]", total - text.size(), total);
  return text;
}

std::string ToolBox::list_dir(const std::string& path) const {
  std::string text;
  size_t n = 0;
  const std::vector<ConfinedFolder::Entry> entries = folder_.list(path);
  for (const ConfinedFolder::Entry& entry : entries) {
    if (text.size() > limits_.output_bytes) break;
    text += entry.name;
    if (entry.kind == 'd') text += '/';
    if (entry.kind == 'l') text += " (link)";
    if (entry.kind == 'f') text += fmt::format(" ({} bytes)", entry.n_bytes);
    text += '\n';
    ++n;
  }
  if (n < entries.size()) text += fmt::format("[{} of {} entries left out]\n", entries.size() - n, entries.size());
  return text.empty() ? "the folder is empty\n" : text;
}

}  // namespace flashmoe
