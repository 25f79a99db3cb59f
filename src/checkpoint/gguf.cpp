#include "checkpoint/gguf.h"

#include <filesystem>

#include "base/error.h"
#include "checkpoint/lookalikes.h"
#include "checkpoint/part_name.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxParts = 99999;  // five digits in the name

// An unsigned metadata value under `key`, whatever integer type the writer chose; nothing when it is absent.
std::optional<uint64_t> find_count(const File& file, const GgufHeader& header, const char* key) {
  const auto entry = header.metadata.find(key);
  if (entry == header.metadata.end()) return std::nullopt;
  if (const auto* number = std::get_if<uint64_t>(&entry->second)) return *number;
  if (const auto* number = std::get_if<int64_t>(&entry->second); number != nullptr && *number >= 0) {
    return static_cast<uint64_t>(*number);
  }
  fail(Fault::input, "{}: metadata key '{}' must be a number from 0", file.path(), key);
}

GgufHeader read_part(const File& file) {
  refuse_lookalikes(file, read_head(file));
  return read_gguf_header(file);
}

// The paths of all parts, in order; throws when one is missing.
std::vector<fs::path> part_paths(const File& file, uint64_t count) {
  const fs::path path(file.path());
  const std::optional<PartName> name = parse_part_name(path.filename().string());
  if (!name || name->count != count) {
    fail(Fault::input, "{}: one part of a split of {}, but not named '...-00001-of-{:05}.gguf': restore its name",
         file.path(), count, count);
  }
  std::vector<fs::path> paths;
  std::vector<std::string> missing;
  for (uint64_t number = 1; number <= count; ++number) {
    paths.push_back(path.parent_path() / name->name_of(number));
    std::error_code error;
    if (!fs::exists(paths.back(), error)) missing.push_back(name->name_of(number));
  }
  if (!missing.empty()) {
    fail(Fault::input, "{}: {} of {} parts of the model are missing beside it: {}; fetch them into the same folder",
         file.path(), missing.size(), count, list_some(missing));
  }
  return paths;
}

void open_parts(CheckpointContents& contents, const File& given, uint64_t count) {
  if (count > kMaxParts) fail(Fault::input, "{}: 'split.count' is {}: damaged", given.path(), count);
  const std::vector<fs::path> paths = part_paths(given, count);
  uint64_t n_tensors = 0;
  std::optional<uint64_t> n_expected;
  for (uint64_t i = 0; i < count; ++i) {
    std::shared_ptr<File> file = open_file(paths[i].string());
    GgufHeader header = read_part(*file);
    const std::optional<uint64_t> its_count = find_count(*file, header, "split.count");
    const std::optional<uint64_t> its_number = find_count(*file, header, "split.no");
    if (its_count != count || its_number != i) {
      fail(Fault::input, "{}: says it is part {} of {}, its name says {} of {}: parts of different models are mixed",
           file->path(), its_number ? fmt::format("{}", *its_number + 1) : "?",
           its_count ? fmt::format("{}", *its_count) : "?", i + 1, count);
    }
    n_tensors += header.tensors.size();
    if (i == 0) {
      n_expected = find_count(*file, header, "split.tensors.count");
      contents.container = fmt::format("GGUF v{}", header.version);
      contents.metadata = std::move(header.metadata);
    }
    add_file(contents, std::move(file), std::move(header.tensors));
  }
  if (n_expected && *n_expected != n_tensors) {
    fail(Fault::input, "{}: the {} parts hold {} tensors, {} were expected: parts of different models are mixed",
         given.path(), count, n_tensors, *n_expected);
  }
}

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const std::string& path) {
  CheckpointContents contents;
  contents.dialect = Dialect::gguf;
  contents.path = path;
  std::shared_ptr<File> file = open_file(path);
  GgufHeader header = read_part(*file);
  const uint64_t count = find_count(*file, header, "split.count").value_or(1);
  if (count > 1) {
    open_parts(contents, *file, count);
  } else {
    contents.container = fmt::format("GGUF v{}", header.version);
    contents.metadata = std::move(header.metadata);
    add_file(contents, std::move(file), std::move(header.tensors));
  }
  if (contents.tensors.empty() && contents.unsupported.empty()) {
    fail(Fault::input, "{}: a GGUF file without tensors (a vocabulary only?); give the file with the weights", path);
  }
  return make_checkpoint(std::move(contents));
}

}  // namespace flashmoe
