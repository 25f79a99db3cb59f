#include "checkpoint/safetensors.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <unordered_set>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/folder_listing.h"
#include "checkpoint/lookalikes.h"
#include "checkpoint/part_name.h"
#include "checkpoint/quantisation.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 4 * kMiB;
constexpr int kMaxConfigDepth = 64;
constexpr std::string_view kExtension = ".safetensors";
constexpr std::string_view kIndexExtension = ".safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

nlohmann::json read_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  if (!is_there(path)) {
    fail(Fault::input, "{}: there is no config.json beside the weights; fetch it from where they came from",
         folder.string());
  }
  const std::shared_ptr<File> file = open_file(path.string());
  const std::string text = read_text(*file, kMaxConfigBytes);
  refuse_lookalikes(*file, std::string_view(text).substr(0, 64));
  // Nothing is kept of what lies too deep, so a hostile file cannot build a tall document.
  bool too_deep = false;
  nlohmann::json config = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        too_deep |= depth > kMaxConfigDepth;
        return depth <= kMaxConfigDepth;
      },
      false);
  if (config.is_discarded() || !config.is_object() || too_deep) {
    fail(Fault::input, "{}: is not a JSON object; fetch it again", file->path());
  }
  return config;
}

void check_shard_name(const File& index, const std::string& shard) {
  const fs::path path(shard);
  const bool leaves = path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end();
  if (leaves || !shard.ends_with(kExtension) || shard.find('\0') != std::string::npos) {
    fail(Fault::input, "{}: names the shard {}, which is not a .safetensors file inside the folder", index.path(),
         in_quotes(shard));
  }
}

// What every tensor of the index says must be so: its shard holds it.
void check_against_index(const CheckpointContents& contents, const File& index, const std::vector<ShardedName>& names,
                         const std::vector<std::string>& shards) {
  std::unordered_set<std::string_view> seen, unsupported;  // the latter do not tell their file
  for (const UnsupportedTensor& tensor : contents.unsupported) unsupported.insert(tensor.name);
  for (const ShardedName& name : names) {
    if (!seen.insert(name.tensor).second) {
      fail(Fault::input, "{}: tensor {} is listed twice", index.path(), in_quotes(name.tensor));
    }
    if (unsupported.contains(name.tensor)) continue;
    const auto tensor = contents.tensors.find(name.tensor);
    if (tensor != contents.tensors.end() && shards[tensor->second.file] == name.shard) continue;
    fail(Fault::input, "{}: tensor {} should be in {} but is not: index and shards do not belong together",
         index.path(), in_quotes(name.tensor), in_quotes(name.shard));
  }
}

void add_shards(CheckpointContents& contents, const fs::path& folder, const std::vector<std::string>& shards) {
  std::vector<std::string> missing;
  for (const std::string& shard : shards) {
    if (!is_there(folder / shard)) missing.push_back(shard);
  }
  if (!missing.empty()) {
    fail(Fault::input, "{}: {} of {} shards are missing: {}; fetch them into the folder", folder.string(),
         missing.size(), shards.size(), list_some(missing));
  }
  for (const std::string& shard : shards) {
    std::shared_ptr<File> file = open_file((folder / shard).string());
    refuse_lookalikes(*file, read_head(*file));
    std::vector<ListedTensor> tensors = read_safetensors_header(*file);
    add_file(contents, std::move(file), std::move(tensors));
  }
}

CheckpointContents begin(const std::string& path, const fs::path& folder) {
  CheckpointContents contents;
  contents.dialect = Dialect::hugging_face;
  contents.path = path;
  contents.container = "safetensors";
  contents.folder = folder.string();
  contents.config = read_config(folder);
  return contents;
}

std::unique_ptr<Checkpoint> finish(CheckpointContents contents) {
  if (contents.tensors.empty() && contents.unsupported.empty()) {
    fail(Fault::input, "{}: its safetensors hold no tensors", contents.path);
  }
  pair_scales(contents);
  return make_checkpoint(std::move(contents));
}

std::unique_ptr<Checkpoint> open_indexed(const std::string& path, const fs::path& index_path) {
  CheckpointContents contents = begin(path, index_path.parent_path());
  const std::shared_ptr<File> index = open_file(index_path.string());
  const std::vector<ShardedName> names = read_safetensors_index(*index);
  std::set<std::string> unique;
  for (const ShardedName& name : names) {
    if (unique.insert(name.shard).second) check_shard_name(*index, name.shard);
  }
  const std::vector<std::string> shards(unique.begin(), unique.end());
  add_shards(contents, index_path.parent_path(), shards);
  check_against_index(contents, *index, names, shards);
  return finish(std::move(contents));
}

std::unique_ptr<Checkpoint> open_listed(const std::string& path, const fs::path& folder,
                                        const std::vector<std::string>& shards) {
  CheckpointContents contents = begin(path, folder);
  add_shards(contents, folder, shards);
  return finish(std::move(contents));
}

std::vector<std::string> names_with(const std::string& folder, std::string_view ending) {
  std::vector<std::string> names = list_folder(folder.empty() ? "." : folder);
  std::erase_if(names, [&](const std::string& name) { return !name.ends_with(ending); });
  return names;
}

// Without an index, names such as model-00001-of-00003.safetensors still tell which shards there should be.
std::vector<std::string> with_missing_parts(std::vector<std::string> names) {
  std::set<std::string> all(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::optional<PartName> part = parse_part_name(name);
    if (!part) continue;
    for (uint64_t number = 1; number <= part->count; ++number) all.insert(part->name_of(number));
    break;
  }
  return {all.begin(), all.end()};
}

}  // namespace

std::string read_text(const File& file, uint64_t max_bytes) {
  if (file.size() > max_bytes) {
    fail(Fault::input, "{}: is {} long, at most {} were expected", file.path(), human_bytes(file.size()),
         human_bytes(max_bytes));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::unique_ptr<Checkpoint> open_safetensors_folder(const std::string& folder) {
  const std::vector<std::string> indexes = names_with(folder, kIndexExtension);
  const std::string usual = "model" + std::string(kIndexExtension);
  if (indexes.size() == 1 || std::find(indexes.begin(), indexes.end(), usual) != indexes.end()) {
    return open_indexed(folder, fs::path(folder) / (indexes.size() == 1 ? indexes[0] : usual));
  }
  if (indexes.size() > 1) {
    fail(Fault::input, "{}: has several indexes ({}); give the path of one", folder, list_some(indexes));
  }
  const std::string whole = "model" + std::string(kExtension);
  const std::vector<std::string> names = names_with(folder, kExtension);
  if (std::find(names.begin(), names.end(), whole) != names.end()) return open_listed(folder, folder, {whole});
  return open_listed(folder, folder, with_missing_parts(names));
}

std::unique_ptr<Checkpoint> open_safetensors_file(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  const std::string name = fs::path(path).filename().string();
  if (name.ends_with(kIndexExtension)) return open_indexed(path, path);
  // A shard stands for its whole model.
  for (const std::string& index_name : names_with(folder.string(), kIndexExtension)) {
    const std::vector<ShardedName> names = read_safetensors_index(*open_file((folder / index_name).string()));
    const bool listed = std::any_of(names.begin(), names.end(), [&](const ShardedName& n) { return n.shard == name; });
    if (listed) return open_indexed(path, folder / index_name);
  }
  return open_listed(path, folder, with_missing_parts({name}));
}

}  // namespace flashmoe
