// Packs the trunk, then layer after layer. Each is a file of its own that appears whole; the manifest, written anew
// after each, says what is done, and gets its final name at the end.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "checkpoint/folder_listing.h"
#include "checkpoint/shown_name.h"
#include "checkpoint/trunk_checksums.h"
#include "flashmoe/pack.h"
#include "pack/destination.h"
#include "pack/durable_file.h"
#include "pack/folder_lock.h"
#include "pack/leftovers.h"
#include "pack/pack_identity.h"
#include "pack/pipeline.h"
#include "pack/plan_lines.h"
#include "pack/source_shards.h"
#include "pack/trunk_layout.h"
#include "pack/verify.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kDefaultRam = 512 * kMiB;
constexpr uint64_t kMostAtOnce = 32 * kMiB;  // of a chunk: what the start and the end of a layer wait for

// The work of one call.
class Packer {
 public:
  explicit Packer(const PackOptions& options)
      : options_(options),
        recipe_(options),
        importance_(options.imatrix),
        source_(source_to_open(options.source, options.destination), recipe_, importance_),
        manifest_(source_.manifest()) {
    manifest_.source = source_identity(source_.checkpoint());
    manifest_.settings = settings_of(recipe_, importance_);
    trunk_ = lay_out_trunk(source_);
    recall();
    if (options.delete_source) shards_.emplace(source_, options.source, options.destination);
  }

  PackPlan plan() const;
  PackReport run();

 private:
  void take_folder();
  std::string path(std::string_view name) const { return (fs::path(options_.destination) / name).string(); }
  void recall();
  bool same_work(const Manifest& begun) const;
  uint64_t chunk_bytes() const;
  uint64_t largest_task() const;
  uint64_t memory_bytes() const { return kChunksInFlight * std::max(chunk_bytes(), largest_task()); }
  std::array<Task, 3> record(size_t layer, int expert) const;
  bool too_much_memory(const PackPlan& plan) const {
    return options_.ram_bytes > 0 && plan.memory_bytes > options_.ram_bytes;
  }
  uint64_t bytes_left() const;
  uint64_t room_needed(const std::string& place) const;
  std::vector<bool> layers_packed() const;
  void check_what_is_there();
  bool is_whole(size_t layer, const std::function<void(uint64_t)>& on_bytes) const;
  void pack_trunk();
  void pack_layer(size_t layer);
  void check_source() const;
  void remember();
  void report_progress(uint64_t written);
  std::string how_to_go_on() const;

  const PackOptions& options_;
  Recipe recipe_;
  Importance importance_;
  PackSource source_;
  Manifest manifest_;
  TrunkLayout trunk_;
  uint64_t done_bytes_ = 0, total_bytes_ = 0, start_ns_ = 0;
  int n_kept_ = 0;
  std::optional<FolderLock> lock_;
  std::optional<SourceShards> shards_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Pipeline> pipeline_;
};

bool Packer::same_work(const Manifest& begun) const {
  if (!is_same_source(begun.source, manifest_.source) || begun.settings != manifest_.settings) return false;
  if (begun.layers.size() != manifest_.layers.size() || begun.n_experts != manifest_.n_experts) return false;
  for (size_t i = 0; i < begun.layers.size(); ++i) {
    if (begun.layers[i].matrices != manifest_.layers[i].matrices) return false;
  }
  return true;
}

// What an earlier run has done.
void Packer::recall() {
  std::error_code error;
  const std::string& folder = options_.destination;
  if (!fs::exists(folder, error)) return;
  if (!fs::is_directory(folder, error)) fail(Fault::usage, "{}: is not a folder", folder);
  refuse_packed(folder);
  if (fs::exists(path(kUnfinishedManifestName), error)) {
    const Manifest begun = Manifest::parse(*open_file(path(kUnfinishedManifestName)));
    if (!same_work(begun)) {
      fail(Fault::usage, "{}: was begun from another source or with other options; give those, or remove it", folder);
    }
    manifest_ = begun;
    return;
  }
  for (const std::string& name : list_folder(folder)) {
    if (name.ends_with(".partial")) continue;
    fail(Fault::usage, "{}: is not empty (it has {}); give a new folder", folder, in_quotes(name));
  }
}

// An expert's matrices and where they go in the bank.
std::array<Task, 3> Packer::record(size_t layer, int expert) const {
  std::array<Task, 3> record;
  uint64_t at = manifest_.layers[layer].stride() * static_cast<uint64_t>(expert);
  for (size_t m = 0; m < 3; ++m) {
    record[m].matrix = source_.expert(static_cast<int>(layer), expert, m);
    const auto parts = record[m].matrix.to.part_bytes();
    for (size_t p = 0; p < kMatrixParts; ++p) {
      record[m].at[p] = at;
      at += parts[p];
    }
  }
  return record;
}

uint64_t Packer::largest_task() const {
  uint64_t largest = 0;
  for (const Task& task : trunk_tasks(source_, trunk_, chunk_bytes() / 2)) {
    largest = std::max(largest, task.memory_bytes());
  }
  for (size_t i = 0; i < manifest_.layers.size(); ++i) largest = std::max(largest, memory_of(record(i, 0)));
  return largest;
}

uint64_t Packer::chunk_bytes() const {
  const uint64_t ram = options_.ram_bytes > 0 ? options_.ram_bytes : kDefaultRam;
  return std::min(kMostAtOnce, std::max<uint64_t>(2 * kMiB, ram / kChunksInFlight * 2 / 3));
}

uint64_t Packer::bytes_left() const {
  uint64_t bytes = manifest_.trunk_bytes > 0 ? 0 : trunk_.bytes;
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    if (manifest_.layers[i].checksums.empty()) bytes += manifest_.bank_bytes(i);
  }
  return bytes;
}

// Of what is still to be written, the most at any time; files of the source that go meanwhile make room for it where
// they are on the same disk.
uint64_t Packer::room_needed(const std::string& place) const {
  const uint64_t manifests =
      2 * manifest_.to_json().size() + 64 * manifest_.layers.size() * static_cast<uint64_t>(manifest_.n_experts) + kMiB;
  struct stat here = {}, there = {};
  const bool same_disk = ::stat(place.c_str(), &here) == 0 &&
                         ::stat(source_.checkpoint().files().front()->path().c_str(), &there) == 0 &&
                         here.st_dev == there.st_dev;
  if (!shards_ || !same_disk) return bytes_left() + manifests;
  std::vector<bool> packed = layers_packed();
  uint64_t written = manifest_.trunk_bytes > 0 ? 0 : trunk_.bytes, most = written;
  for (size_t i = 0; i < packed.size(); ++i) {
    if (packed[i]) continue;
    written += manifest_.bank_bytes(i);
    const uint64_t freed = shards_->freed_bytes(true, packed);
    most = std::max(most, written - std::min(written, freed));
    packed[i] = true;
  }
  return most + manifests;
}

PackPlan Packer::plan() const {
  PackPlan plan;
  add_lines(source_, plan);
  for (const PackedLayer& layer : manifest_.layers) plan.n_layers_done += layer.checksums.empty() ? 0 : 1;
  plan.n_layers = static_cast<int>(manifest_.layers.size());
  fs::path place = fs::absolute(options_.destination);
  while (!fs::exists(place) && place.has_relative_path()) place = place.parent_path();
  plan.needed_bytes = room_needed(place.string());
  plan.free_bytes = free_bytes(place.string()) + leftover_bytes(options_.destination, manifest_);
  plan.memory_bytes = memory_bytes();
  plan.notes = source_.notes();
  if (const int error = why_not_writable(place.string()); error != 0) {
    plan.notes.push_back(fmt::format("will be refused: {}: cannot be written to: {}", place.string(),
                                     std::generic_category().message(error)));
  }
  if (plan.needed_bytes > plan.free_bytes) plan.notes.push_back("will be refused: there is not enough space");
  if (too_much_memory(plan)) plan.notes.push_back("will be refused: --ram is too small");
  if (shards_) {
    const uint64_t freed = shards_->freed_bytes(true, std::vector<bool>(manifest_.layers.size(), true));
    plan.notes.push_back(fmt::format("the source's files are deleted as packing goes on, {} of {}: {}",
                                     shards_->n_files() - shards_->n_kept(), shards_->n_files(), human_bytes(freed)));
    if (shards_->n_kept() > 0) plan.notes.push_back("files with tensors that are left out stay");
  }
  return plan;
}

std::vector<bool> Packer::layers_packed() const {
  std::vector<bool> packed;
  for (const PackedLayer& layer : manifest_.layers) packed.push_back(!layer.checksums.empty());
  return packed;
}

void Packer::report_progress(uint64_t written) {
  if (options_.on_progress) {
    options_.on_progress({"packing", Progress::Unit::bytes, std::min(done_bytes_ + written, total_bytes_), total_bytes_,
                          seconds_since(start_ns_)});
  }
  if (options_.keep_going && !options_.keep_going()) fail(Fault::interrupted, "{}", how_to_go_on());
}

// What was read of a file is what is packed of it if it is the same behind all reads; what is deleted must be that.
void Packer::check_source() const {
  const auto& files = source_.checkpoint().files();
  for (size_t i = 0; i < files.size(); ++i) {
    if ((shards_ && shards_->is_deleted(i)) || !files[i]->has_changed()) continue;
    fail(Fault::io, "{}: was written to or replaced while it was packed; remove {} and pack again", files[i]->path(),
         options_.destination);
  }
}

void Packer::remember() {
  check_source();
  write_durably(path(kUnfinishedManifestName), manifest_.to_json());
  if (shards_) shards_->delete_unneeded(manifest_.trunk_bytes > 0, layers_packed());
}

std::string Packer::how_to_go_on() const {
  return fmt::format("interrupted; give the same command again to go on with {}", options_.destination);
}

bool Packer::is_whole(size_t layer, const std::function<void(uint64_t)>& on_bytes) const {
  std::error_code error;
  const PackedLayer& packed = manifest_.layers[layer];
  const std::string bank = path(manifest_.bank_name(layer));
  const uint64_t bytes = manifest_.bank_bytes(layer);
  if (fs::file_size(bank, error) != bytes || error) return false;
  const auto file = open_file(bank);
  if (shards_) file->drop_page_cache();
  return !first_difference(*file, packed, on_bytes);
}

// Nothing that a power cut or a bad disk left half done is built on.
void Packer::check_what_is_there() {
  std::error_code error;
  const auto note = verifying(options_, bytes_to_verify(manifest_), how_to_go_on());
  if (manifest_.trunk_bytes > 0) {
    const bool there = fs::exists(path(kTrunkName), error);
    if (!there || damage_of_trunk(*open_file(path(kTrunkName)), manifest_, note)) manifest_.trunk_bytes = 0;
  }
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    if (manifest_.layers[i].checksums.empty()) continue;
    if (is_whole(i, note)) {
      ++n_kept_;
    } else {
      manifest_.layers[i].checksums.clear();
    }
  }
  if (shards_ || fs::exists(path("source"), error)) {
    SourceShards(source_, options_.source, options_.destination)
        .refuse_lost(manifest_.trunk_bytes > 0, layers_packed());
  }
}

void Packer::pack_trunk() {
  DurableFile file(path(kTrunkName), trunk_.bytes);
  file.write(0, std::as_bytes(std::span(trunk_.header)));
  const std::vector<Task> tasks = trunk_tasks(source_, trunk_, chunk_bytes() / 2);
  size_t next = 0;
  const auto make = [&] {
    Chunk chunk;
    chunk.tasks_per_record = 1;
    while (next < tasks.size() && chunk.has_room({&tasks[next], 1}, chunk_bytes())) chunk.add(tasks[next++]);
    return chunk;
  };
  const std::vector<uint64_t> sums = pipeline_->run(make, file, [&](uint64_t bytes) { report_progress(bytes); });
  const uint64_t began_ns = now_ns();
  file.commit();
  const auto written = open_file(path(kTrunkName));
  if (shards_) written->drop_page_cache();
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (task_checksum(*written, tasks[i]) != sums[i])
      fail(Fault::io, "{}: reads otherwise than it was written: is the disk sound?", written->path());
  }
  manifest_.trunk_checksums = checksums_of_trunk(*written, manifest_, {});
  pipeline_->times().write_s += seconds_since(began_ns);
  pipeline_->times().total_s += seconds_since(began_ns);
  manifest_.trunk_bytes = trunk_.bytes;
}

void Packer::pack_layer(size_t layer) {
  PackedLayer& packed = manifest_.layers[layer];
  const int n_experts = static_cast<int>(manifest_.n_experts);
  DurableFile file(path(manifest_.bank_name(layer)), manifest_.bank_bytes(layer));
  int expert = 0;
  const auto make = [&] {
    Chunk chunk;
    chunk.tasks_per_record = 3;
    for (; expert < n_experts; ++expert) {
      std::array<Task, 3> record = this->record(layer, expert);
      if (!chunk.has_room(record, chunk_bytes())) break;
      for (Task& task : record) chunk.add(std::move(task));
    }
    return chunk;
  };
  std::vector<uint64_t> checksums = pipeline_->run(make, file, [&](uint64_t bytes) { report_progress(bytes); });
  const uint64_t began_ns = now_ns();
  file.commit();
  pipeline_->times().write_s += seconds_since(began_ns);
  pipeline_->times().total_s += seconds_since(began_ns);
  packed.checksums = std::move(checksums);
  if (shards_ && !is_whole(layer, {})) {
    fail(Fault::io, "{}: reads otherwise than it was written: is the disk sound?", path(manifest_.bank_name(layer)));
  }
}

// Of this call alone, and as far as it is packed already.
void Packer::take_folder() {
  const PackPlan plan = this->plan();
  if (too_much_memory(plan)) {
    fail(Fault::usage, "--ram: packing this model needs {}", human_bytes(plan.memory_bytes));
  }
  if (plan.needed_bytes > plan.free_bytes) {
    fail(Fault::io, "{}: not enough space: {} needed, {} free; make room or name a folder on another drive",
         options_.destination, human_bytes(plan.needed_bytes), human_bytes(plan.free_bytes));
  }
  std::error_code error;
  fs::create_directories(options_.destination, error);
  if (error) fail(Fault::io, "{}: cannot make the folder: {}", options_.destination, error.message());
  lock_.emplace(options_.destination);
  recall();  // of another pack, which may have been at work until now
  remove_leftovers(options_.destination, manifest_);
  check_what_is_there();
}

PackReport Packer::run() {
  take_folder();
  total_bytes_ = bytes_left();
  start_ns_ = now_ns();
  pool_ = std::make_unique<ThreadPool>(options_.n_threads > 0 ? options_.n_threads : usable_cpus());
  pipeline_ = std::make_unique<Pipeline>(source_.checkpoint(), importance_, *pool_, options_.allow_nonfinite);
  if (manifest_.trunk_bytes == 0) {
    remember();  // a trunk without it would be somebody else's file
    pack_trunk();
    done_bytes_ += trunk_.bytes;
    remember();
  }
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    if (!manifest_.layers[i].checksums.empty()) continue;
    pack_layer(i);
    done_bytes_ += manifest_.bank_bytes(i);
    remember();
  }
  manifest_.source = without_times(manifest_.source);
  remember();
  std::error_code error;
  fs::rename(path(kUnfinishedManifestName), path(kManifestName), error);
  if (error) fail(Fault::io, "{}: cannot be renamed: {}", path(kUnfinishedManifestName), error.message());
  sync_folder(options_.destination, Sync::if_possible);
  forget_source(options_.destination);
  const PackTimes& t = pipeline_->times();
  const auto rate = [](uint64_t bytes, double s) { return s > 0 ? static_cast<double>(bytes) / s * 1e-9 : 0.0; };
  PackReport report{t.read_bytes,
                    t.written_bytes,
                    t.total_s,
                    rate(t.read_bytes, t.read_s),
                    rate(t.encoded_bytes, t.encode_s),
                    rate(t.written_bytes, t.write_s),
                    0,
                    n_kept_};
  const double slowest = std::max({t.read_s, t.encode_s, t.write_s});
  report.share_of_slowest = t.total_s > 0 ? std::min(1.0, slowest / t.total_s) : 1;
  return report;
}

}  // namespace

PackPlan plan_pack(const PackOptions& options) {
  refuse_same_place(options);
  refuse_packed(options.destination);
  return Packer(options).plan();
}

PackReport pack(const PackOptions& options) {
  refuse_same_place(options);
  refuse_packed(options.destination);
  return Packer(options).run();
}

}  // namespace flashmoe
