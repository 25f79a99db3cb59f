#include "run_description.h"

#include <fmt/format.h>

#include <filesystem>

#include "flashmoe/machine.h"
#include "flashmoe/version.h"
#include "flashmoe/wording.h"

namespace flashmoe {
namespace {

constexpr size_t kColumns = 80;

}  // namespace

void Rows::row(const char* name, const std::string& value) {
  std::string line = fmt::format("{:<{}}{}", name, kNameColumns, without_controls(value));
  if (line.size() > kColumns) {
    size_t end = kColumns - 3;
    while (end > 0 && (line[end] & 0xC0) == 0x80) --end;  // between two characters of UTF-8
    line = line.substr(0, end) + "...";
  }
  text_ += line + "\n";
}

std::string describe_model(const ModelReport& model) {
  const std::string file = std::filesystem::path(model.path).filename().string();
  return fmt::format("{}, {}{}", file.empty() ? model.path : file, human_bytes(model.file_bytes),
                     model.formats.empty() ? "" : ", mostly " + model.formats.front().format);
}

std::string describe_machine(int n_threads, const std::string& kernels, bool exact) {
  return fmt::format("{}, {} thread{}, {} kernels{}", cpu_name(), n_threads, n_threads == 1 ? "" : "s", kernels,
                     exact ? ", exact" : "");
}

std::string describe_version() {
  const std::string commit = source_commit();
  return commit.empty() ? kVersion : fmt::format("{} ({})", kVersion, commit);
}

}  // namespace flashmoe
