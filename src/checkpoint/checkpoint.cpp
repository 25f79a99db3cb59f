#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/folder_listing.h"
#include "checkpoint/gguf.h"
#include "checkpoint/lookalikes.h"
#include "checkpoint/packed_folder.h"
#include "checkpoint/part_name.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxSideFileBytes = 64 * kMiB;

class OpenCheckpoint final : public Checkpoint {
 public:
  explicit OpenCheckpoint(CheckpointContents contents) : contents_(std::move(contents)) {}

  Dialect dialect() const override { return contents_.dialect; }
  const std::string& path() const override { return contents_.path; }
  std::string container() const override { return contents_.container; }
  const std::vector<std::shared_ptr<File>>& files() const override { return contents_.files; }
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const override { return contents_.tensors; }
  const std::vector<UnsupportedTensor>& unsupported_tensors() const override { return contents_.unsupported; }
  const std::map<std::string, MetaValue, std::less<>>& metadata() const override { return contents_.metadata; }
  const nlohmann::json& config() const override { return contents_.config; }

  std::optional<std::string> side_file(std::string_view name) const override {
    if (contents_.dialect == Dialect::gguf || name.find('/') != std::string_view::npos) return std::nullopt;
    const fs::path path = fs::path(contents_.folder) / name;
    std::error_code error;
    if (!fs::exists(path, error)) return std::nullopt;
    return read_text(*open_file(path.string()), kMaxSideFileBytes);
  }

 private:
  CheckpointContents contents_;
};

// What a folder holds, by the endings of its names.
struct FolderNames {
  std::vector<std::string> gguf;
  bool has_config = false;
  bool has_safetensors = false;
  bool has_pickles = false;
  bool has_manifest = false, has_unfinished_manifest = false;
};

FolderNames look_into(const std::string& folder) {
  FolderNames names;
  for (const std::string& name : list_folder(folder)) {
    names.has_config |= name == "config.json";
    names.has_manifest |= name == kManifestName;
    names.has_unfinished_manifest |= name == kUnfinishedManifestName;
    names.has_safetensors |= name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    names.has_pickles |= name.ends_with(".bin") || name.ends_with(".pth") || name.ends_with(".pt");
    // "mmproj" files are image encoders that belong to a model, not models.
    if (name.ends_with(".gguf") && name.find("mmproj") == std::string::npos) names.gguf.push_back(name);
  }
  return names;
}

bool same_split(const std::string& a, const std::string& b) {
  const std::optional<PartName> first = parse_part_name(a), second = parse_part_name(b);
  return first && second && first->prefix == second->prefix && first->count == second->count;
}

std::unique_ptr<Checkpoint> open_folder(const std::string& folder) {
  const FolderNames names = look_into(folder);
  if (names.has_unfinished_manifest) {
    fail(Fault::input, "{}: a packed folder that is not finished: give the command that packs it again, it goes on",
         folder);
  }
  if (names.has_manifest && !names.has_safetensors) return open_packed_folder(folder);
  if (names.has_safetensors && (names.has_config || names.gguf.empty())) return open_safetensors_folder(folder);
  if (names.gguf.empty() && names.has_pickles) {
    fail(Fault::unsupported, "{}: holds PyTorch files only; fetch the model as safetensors or GGUF", folder);
  }
  if (names.gguf.empty()) {
    fail(Fault::input, "{}: no model in this folder: neither *.safetensors nor *.gguf; give the path of one", folder);
  }
  for (const std::string& name : names.gguf) {
    if (name != names.gguf[0] && !same_split(name, names.gguf[0])) {
      fail(Fault::input, "{}: holds several models ({}); give the path of one", folder, list_some(names.gguf));
    }
  }
  return open_gguf((fs::path(folder) / names.gguf[0]).string());
}

std::unique_ptr<Checkpoint> open_model_file(const std::string& path) {
  const std::shared_ptr<File> file = open_file(path);
  const std::string head = read_head(*file);
  if (head.starts_with("GGUF")) return open_gguf(path);
  refuse_lookalikes(*file, head);
  if (path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json")) return open_safetensors_file(path);
  fail(Fault::input, "{}: neither a GGUF nor a safetensors file; give a .gguf, a .safetensors or the model's folder",
       path);
}

}  // namespace

int64_t TensorInfo::n_values() const {
  int64_t n = 1;
  for (const int64_t dim : shape) n *= dim;
  return n;
}

std::string TensorInfo::format_name() const {
  switch (format) {
    case Format::affine2:
    case Format::affine3:
    case Format::affine4:
    case Format::affine5:
    case Format::affine6:
    case Format::affine8:
      return fmt::format("MLX {}-bit g{}", format_info(format).block_bytes / 4, grid.group_cols);
    case Format::mxfp4_split:
      return "MLX MXFP4";
    case Format::fp8_e4m3:
      return fmt::format("FP8 e4m3 {}x{}", grid.group_rows, grid.group_cols);
    default:
      return format_info(format).name;
  }
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto found = tensors().find(name);
  return found == tensors().end() ? nullptr : &found->second;
}

const UnsupportedTensor* Checkpoint::find_unsupported(std::string_view name) const {
  const auto& all = unsupported_tensors();
  const auto found = std::lower_bound(all.begin(), all.end(), name,
                                      [](const UnsupportedTensor& t, std::string_view n) { return t.name < n; });
  return found == all.end() || found->name != name ? nullptr : &*found;
}

uint64_t Checkpoint::file_bytes() const {
  uint64_t bytes = 0;
  for (const std::shared_ptr<File>& file : files()) bytes += file->size();
  return bytes;
}

void refuse_duplicates(CheckpointContents& contents) {
  std::sort(contents.unsupported.begin(), contents.unsupported.end(),
            [](const UnsupportedTensor& a, const UnsupportedTensor& b) { return a.name < b.name; });
  for (size_t i = 0; i < contents.unsupported.size(); ++i) {
    const std::string& name = contents.unsupported[i].name;
    if (contents.tensors.contains(name) || (i > 0 && name == contents.unsupported[i - 1].name)) {
      fail(Fault::input, "{}: tensor {} is there twice: one of them must go", contents.path, in_quotes(name));
    }
  }
}

std::unique_ptr<Checkpoint> make_checkpoint(CheckpointContents contents) {
  refuse_duplicates(contents);
  return std::make_unique<OpenCheckpoint>(std::move(contents));
}

std::unique_ptr<Checkpoint> Checkpoint::open(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    fail(Fault::io, "{}: no such file or folder; check the path of the model", in_quotes(path));
  }
  return fs::is_directory(status) ? open_folder(path) : open_model_file(path);
}

}  // namespace flashmoe
