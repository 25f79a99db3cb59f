#include "pack/source_shards.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/folder_listing.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shown_name.h"
#include "pack/durable_file.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = "source";
constexpr const char* kOrigin = "packed-from.txt";
constexpr uint64_t kStandInBytes = kMiB;  // what tells one source from another
constexpr uint64_t kMostSideBytes = 64 * kMiB;

[[noreturn]] void complain(const fs::path& path, const char* what, int error) {
  fail(Fault::io, "{}: {}: {}", path.string(), what, std::generic_category().message(error));
}

std::string canonical(const std::string& path) { return fs::weakly_canonical(path).string(); }

fs::path folder_of(const std::string& source) {
  const fs::path path = canonical(source);
  return fs::is_directory(path) ? path : path.parent_path();
}

}  // namespace

std::string source_to_open(const std::string& source, const std::string& destination) {
  std::error_code error;
  const fs::path folder = fs::path(destination) / kFolder;
  if (!fs::exists(folder / kOrigin, error)) return source;  // none, or a folder of somebody else's
  const std::string origin = read_text(*open_file((folder / kOrigin).string()), kMiB);
  if (origin != canonical(source)) {
    fail(Fault::usage, "{}: was begun from {}, not from {}", destination, printable(origin), source);
  }
  const fs::path path = canonical(source);
  return fs::is_directory(path) ? folder.string() : (folder / path.filename()).string();
}

// Away at once, then piece by piece: whatever stops that, nothing is taken for a source that is half gone.
void forget_source(const std::string& destination) {
  std::error_code error;
  const fs::path folder = fs::path(destination) / kFolder, going = folder.string() + ".partial";
  fs::remove_all(going, error);
  if (!error && fs::exists(folder / kOrigin, error)) {
    fs::rename(folder, going, error);
    if (!error) fs::remove_all(going, error);
  }
  if (error) fail(Fault::io, "{}/{}: cannot be removed: {}", destination, kFolder, error.message());
}

SourceShards::SourceShards(const PackSource& source, std::string path, std::string destination)
    : path_(std::move(path)), folder_((fs::path(destination) / kFolder).string()), place_(folder_of(path_).string()) {
  for (const auto& file : source.checkpoint().files()) {
    Shard& shard = files_.emplace_back();
    shard.name = fs::path(file->path()).filename().string();
    shard.real_path = (fs::path(place_) / shard.name).string();
    shard.bytes = file->size();
    shard.layers.resize(static_cast<size_t>(source.config().n_layers));
    struct stat status = {};
    if (::lstat(shard.real_path.c_str(), &status) != 0) {
      if (errno != ENOENT) complain(shard.real_path, "looking at it", errno);
      shard.deleted = true;  // by an earlier run, or the checkpoint could not have been opened
      continue;
    }
    if (!S_ISREG(status.st_mode) || status.st_nlink > 1) {
      fail(Fault::usage,
           "{}: is a link, or has other names: deleting it would not make room; pack without deleting the source",
           shard.real_path);
    }
  }
  if (::access(place_.c_str(), W_OK) != 0) complain(place_, "files cannot be deleted there", errno);
  note_use(source);
}

void SourceShards::note_use(const PackSource& source) {
  const auto each_part = [&](const ExpertMatrix& matrix, auto use) {
    for (const Extent& part : matrix.parts) {
      if (part.bytes > 0) use(files_[part.file]);
    }
  };
  for (const TrunkTensor& tensor : source.trunk()) {
    const auto use = [](Shard& shard) { shard.in_trunk = true; };
    if (tensor.stack.empty()) each_part(tensor.matrix.from, use);
    for (const ExpertMatrix& matrix : tensor.stack) each_part(matrix, use);
  }
  const auto n_experts = static_cast<int>(source.manifest().n_experts);
  for (int layer = 0; layer < source.config().n_layers; ++layer) {
    for (int expert = 0; expert < n_experts; ++expert) {
      for (size_t m = 0; m < 3; ++m) {
        each_part(source.expert(layer, expert, m).from,
                  [&](Shard& shard) { shard.layers[static_cast<size_t>(layer)] = true; });
      }
    }
  }
  for (const uint32_t file : source.files_left_out()) files_[file].kept = true;
}

bool SourceShards::is_unneeded(const Shard& shard, bool trunk_packed, const std::vector<bool>& packed) const {
  if (shard.kept || (shard.in_trunk && !trunk_packed)) return false;
  for (size_t i = 0; i < packed.size(); ++i) {
    if (shard.layers[i] && !packed[i]) return false;
  }
  return true;
}

uint64_t SourceShards::freed_bytes(bool trunk_packed, const std::vector<bool>& packed) const {
  uint64_t bytes = 0;
  for (const Shard& shard : files_) {
    if (!shard.deleted && is_unneeded(shard, trunk_packed, packed)) bytes += shard.bytes;
  }
  return bytes;
}

void SourceShards::refuse_lost(bool trunk_packed, const std::vector<bool>& packed) const {
  for (const Shard& shard : files_) {
    if (!shard.deleted || is_unneeded(shard, trunk_packed, packed)) continue;
    fail(Fault::io, "{}: what was packed from it is damaged, and it was deleted: restore it and pack into a new folder",
         shard.real_path);
  }
}

int SourceShards::n_kept() const {
  return static_cast<int>(std::ranges::count_if(files_, [](const Shard& shard) { return shard.kept; }));
}

void SourceShards::delete_unneeded(bool trunk_packed, const std::vector<bool>& packed) {
  for (Shard& shard : files_) {
    if (shard.deleted || !is_unneeded(shard, trunk_packed, packed)) continue;
    make_folder();
    remove(shard);
    shard.deleted = true;
  }
}

void SourceShards::make_folder() const {
  std::error_code error;
  if (fs::exists(folder_, error)) return;
  const fs::path partial = folder_ + ".partial";
  fs::remove_all(partial, error);
  fs::create_directory(partial, error);
  if (error) complain(partial, "making it", error.value());
  write_durably((partial / kOrigin).string(), canonical(path_));
  for (const std::string& name : list_folder(place_)) {
    const fs::path from = fs::path(place_) / name;
    const bool is_shard = std::ranges::any_of(files_, [&](const Shard& shard) { return shard.name == name; });
    if (is_shard) {
      fs::create_symlink(from, partial / name, error);
    } else if (fs::is_regular_file(from, error) && fs::file_size(from, error) <= kMostSideBytes) {
      fs::copy_file(from, partial / name, error);
      if (!error) sync_file((partial / name).string());
    }
    if (error) complain(partial / name, "making it", error.value());
  }
  sync_folder(partial.string(), Sync::surely);
  fs::rename(partial, folder_, error);
  if (error) complain(folder_, "making it", error.value());
  sync_folder(fs::path(folder_).parent_path().string(), Sync::surely);
}

// The stand-in is there for good before the file goes. Its space comes back although this process has it open.
void SourceShards::remove(Shard& shard) const {
  const std::string stand_in = (fs::path(folder_) / shard.name).string();
  if (fs::is_symlink(stand_in)) {
    const auto file = open_file(shard.real_path);
    std::vector<std::byte> head(static_cast<size_t>(std::min(kStandInBytes, shard.bytes)));
    file->read(0, head);
    const std::string sparse = stand_in + ".sparse";
    write_durably(sparse, std::string(reinterpret_cast<const char*>(head.data()), head.size()));
    if (::truncate(sparse.c_str(), static_cast<off_t>(shard.bytes)) != 0) complain(sparse, "making it", errno);
    // Its time of change tells one source from another, too.
    struct stat status = {};
    if (::stat(shard.real_path.c_str(), &status) != 0) complain(shard.real_path, "looking at it", errno);
    const timespec times[2] = {status.st_atim, status.st_mtim};
    if (::utimensat(AT_FDCWD, sparse.c_str(), times, 0) != 0) complain(sparse, "making it", errno);
    sync_file(sparse);
    if (::rename(sparse.c_str(), stand_in.c_str()) != 0) complain(stand_in, "making it", errno);
    sync_folder(folder_, Sync::surely);
  }
  if (::truncate(shard.real_path.c_str(), 0) != 0) complain(shard.real_path, "deleting it", errno);
  if (::unlink(shard.real_path.c_str()) != 0) complain(shard.real_path, "deleting it", errno);
  sync_folder(place_, Sync::if_possible);
}

}  // namespace flashmoe
