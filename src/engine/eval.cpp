#include "flashmoe/eval.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "checkpoint/identity.h"
#include "io/file.h"
#include "text/tool_calls.h"

namespace flashmoe {

ToolCallVerdict judge_tool_calls(std::string_view answer, std::string_view tools_json, std::string_view want_json) {
  try {
    const ToolCalls got = parse_tool_calls(answer, nlohmann::ordered_json::parse(tools_json));
    const auto want = nlohmann::json::parse(want_json);
    ToolCallVerdict verdict;
    verdict.well_formed = got.well_formed() && !got.calls.empty();
    verdict.exact = got.valid() && got.calls.size() == want.size();
    for (size_t i = 0; verdict.exact && i < got.calls.size(); ++i) {
      verdict.exact = got.calls[i].name == want[i].at("name").get<std::string>() &&
                      nlohmann::json::parse(got.calls[i].arguments) == want[i].at("arguments");
    }
    return verdict;
  } catch (const nlohmann::json::exception& error) {
    fail(Fault::input, "a case's tools or wanted calls cannot be read: {}", error.what());
  }
}

std::string identity_of_files(std::span<const std::string> paths) {
  std::vector<std::shared_ptr<File>> files;
  std::error_code error;
  for (const std::string& path : paths) {
    if (std::filesystem::exists(path, error)) files.push_back(open_file(path));
  }
  return identity_of(files);
}

}  // namespace flashmoe
