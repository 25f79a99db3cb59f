// Packs the trunk, then layer after layer. Each is a file of its own that appears whole; the manifest, written anew
// after each, says what is done, and gets its final name at the end.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/pack.h"
#include "flashmoe/pack.h"
#include "pack/pipeline.h"
#include "pack/trunk_layout.h"
#include "pack/verify.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kDefaultRam = 512 * kMiB;
constexpr uint64_t kMostAtOnce = 32 * kMiB;  // of a chunk's source
constexpr int kChunksInFlight = 3;

void refuse_same_place(const PackOptions& options) {
  if (options.destination.empty()) fail(Fault::usage, "the folder to pack into is missing");
  std::error_code error;
  const fs::path source = fs::weakly_canonical(options.source, error);
  const fs::path folder = fs::is_directory(source, error) ? source : source.parent_path();
  const fs::path destination = fs::weakly_canonical(options.destination, error);
  if (destination == source || (destination == folder && fs::is_directory(options.destination, error))) {
    fail(Fault::usage, "{}: is where the source is; pack into another folder", options.destination);
  }
}

// The work of one call.
class Packer {
 public:
  explicit Packer(const PackOptions& options)
      : options_(options), recipe_(options), source_(options.source, recipe_), manifest_(source_.manifest()) {
    manifest_.source = identity_of(source_.checkpoint());
    manifest_.settings = recipe_.settings();
    trunk_ = lay_out_trunk(source_);
    recall();
  }

  PackPlan plan() const;
  PackReport run();

 private:
  std::string path(std::string_view name) const { return (fs::path(options_.destination) / name).string(); }
  void recall();
  bool same_work(const Manifest& begun) const;
  uint64_t chunk_bytes() const;
  uint64_t largest_task() const;
  uint64_t memory_bytes() const { return kChunksInFlight * std::max(2 * chunk_bytes(), largest_task()); }
  uint64_t bytes_left() const;
  void check_what_is_there();
  bool is_whole(size_t layer) const;
  void pack_trunk();
  void pack_layer(size_t layer);
  void remember() { write_durably(path(kUnfinishedManifestName), manifest_.to_json()); }
  void report_progress(uint64_t written);

  const PackOptions& options_;
  Recipe recipe_;
  PackSource source_;
  Manifest manifest_;
  TrunkLayout trunk_;
  uint64_t done_bytes_ = 0, total_bytes_ = 0, start_ns_ = 0;
  int n_kept_ = 0;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Pipeline> pipeline_;
};

bool Packer::same_work(const Manifest& begun) const {
  if (begun.source != manifest_.source || begun.settings != manifest_.settings) return false;
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
  if (fs::exists(path(kManifestName), error)) {
    fail(Fault::usage, "{}: is packed already; check it with --verify, or give another folder", folder);
  }
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

uint64_t Packer::largest_task() const {
  uint64_t largest = 0;
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    uint64_t record = manifest_.layers[i].record_bytes();
    for (size_t m = 0; m < 3; ++m) record += source_.expert(static_cast<int>(i), 0, m).from.bytes();
    largest = std::max(largest, record);
  }
  return largest;
}

uint64_t Packer::chunk_bytes() const {
  const uint64_t ram = options_.ram_bytes > 0 ? options_.ram_bytes : kDefaultRam;
  return std::min(kMostAtOnce, std::max<uint64_t>(kMiB, ram / kChunksInFlight / 3));
}

uint64_t Packer::bytes_left() const {
  uint64_t bytes = manifest_.trunk_bytes > 0 ? 0 : trunk_.bytes;
  for (const PackedLayer& layer : manifest_.layers) {
    if (layer.checksums.empty()) bytes += layer.stride() * static_cast<uint64_t>(manifest_.n_experts);
  }
  return bytes;
}

PackPlan Packer::plan() const {
  PackPlan plan;
  const auto add = [&](const std::string& what, const std::string& from, const std::string& to, uint64_t n,
                       uint64_t bytes) {
    plan.source_bytes += n;
    plan.packed_bytes += bytes;
    for (auto& line : plan.lines) {
      if (line.what != what || line.from != from || line.to != to) continue;
      line.source_bytes += n;
      line.bytes += bytes;
      return;
    }
    plan.lines.push_back({what, from, to, n, bytes});
  };
  for (const TrunkTensor& tensor : source_.trunk()) {
    const Conversion& c = tensor.matrix;
    if (tensor.raw_type) {
      add("trunk", "other", "the same", c.from.bytes(), c.from.bytes());
    } else {
      add("trunk", format_word(c.from.format), c.as_it_is() ? "the same" : format_word(c.to.format), c.from.bytes(),
          c.to.bytes());
    }
  }
  const auto n = static_cast<uint64_t>(manifest_.n_experts);
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    plan.bytes_per_expert = std::max(plan.bytes_per_expert, manifest_.layers[i].record_bytes());
    plan.n_layers_done += manifest_.layers[i].checksums.empty() ? 0 : 1;
    constexpr const char* kWhat[] = {"experts, gate", "experts, up", "experts, down"};
    for (size_t m = 0; m < 3; ++m) {
      const Conversion c = source_.expert(static_cast<int>(i), 0, m);
      add(kWhat[m], format_word(c.from.format), c.as_it_is() ? "the same" : format_word(c.to.format),
          n * c.from.bytes(), n * c.to.bytes());
    }
  }
  plan.n_layers = static_cast<int>(manifest_.layers.size());
  plan.needed_bytes = bytes_left() + 2 * manifest_.to_json().size() + 64 * manifest_.layers.size() * n + kMiB;
  fs::path place = fs::absolute(options_.destination);
  while (!fs::exists(place) && place.has_relative_path()) place = place.parent_path();
  plan.free_bytes = free_bytes(place.string());
  plan.memory_bytes = memory_bytes();
  plan.notes = source_.notes();
  return plan;
}

void Packer::report_progress(uint64_t written) {
  if (options_.on_progress) {
    options_.on_progress(
        {"packing", std::min(done_bytes_ + written, total_bytes_), total_bytes_, seconds_since(start_ns_)});
  }
  if (options_.keep_going && !options_.keep_going()) {
    fail(Fault::interrupted, "interrupted; give the same command again to go on with {}", options_.destination);
  }
}

bool Packer::is_whole(size_t layer) const {
  std::error_code error;
  const PackedLayer& packed = manifest_.layers[layer];
  const std::string bank = path(manifest_.bank_name(layer));
  const uint64_t bytes = packed.stride() * static_cast<uint64_t>(manifest_.n_experts);
  if (fs::file_size(bank, error) != bytes || error) return false;
  return !first_difference(*open_file(bank), packed, {});
}

// Nothing that a power cut or a bad disk left half done is built on.
void Packer::check_what_is_there() {
  std::error_code error;
  if (manifest_.trunk_bytes > 0) {
    const bool whole = fs::file_size(path(kTrunkName), error) == manifest_.trunk_bytes && !error &&
                       file_checksum(*open_file(path(kTrunkName)), {}) == manifest_.trunk_checksum;
    if (!whole) manifest_.trunk_bytes = 0;
  }
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    if (manifest_.layers[i].checksums.empty()) continue;
    report_progress(0);
    if (is_whole(i)) {
      ++n_kept_;
    } else {
      manifest_.layers[i].checksums.clear();
    }
  }
}

void Packer::pack_trunk() {
  DurableFile file(path(kTrunkName), trunk_.bytes);
  file.write(0, std::as_bytes(std::span(trunk_.header)));
  const std::vector<Task> tasks = trunk_tasks(source_, trunk_, chunk_bytes() / 2);
  size_t next = 0;
  const auto make = [&] {
    Chunk chunk;
    while (next < tasks.size() && chunk.source_bytes < chunk_bytes()) chunk.add(tasks[next++]);
    return chunk;
  };
  pipeline_->run(make, file, [&](uint64_t bytes) { report_progress(bytes); });
  const uint64_t began_ns = now_ns();
  file.commit();
  manifest_.trunk_checksum = file_checksum(*open_file(path(kTrunkName)), {});
  pipeline_->times().write_s += seconds_since(began_ns);
  pipeline_->times().total_s += seconds_since(began_ns);
  manifest_.trunk_bytes = trunk_.bytes;
}

void Packer::pack_layer(size_t layer) {
  PackedLayer& packed = manifest_.layers[layer];
  const int n_experts = static_cast<int>(manifest_.n_experts);
  DurableFile file(path(manifest_.bank_name(layer)), packed.stride() * static_cast<uint64_t>(n_experts));
  int expert = 0;
  const auto make = [&] {
    Chunk chunk;
    chunk.tasks_per_record = 3;
    for (; expert < n_experts && chunk.source_bytes < chunk_bytes(); ++expert) {
      uint64_t at = packed.stride() * static_cast<uint64_t>(expert);
      for (size_t m = 0; m < 3; ++m) {
        Task task{source_.expert(static_cast<int>(layer), expert, m), {}};
        const auto parts = task.matrix.to.part_bytes();
        for (size_t p = 0; p < kMatrixParts; ++p) {
          task.at[p] = at;
          at += parts[p];
        }
        chunk.add(std::move(task));
      }
    }
    return chunk;
  };
  std::vector<uint64_t> checksums = pipeline_->run(make, file, [&](uint64_t bytes) { report_progress(bytes); });
  const uint64_t began_ns = now_ns();
  file.commit();
  pipeline_->times().write_s += seconds_since(began_ns);
  pipeline_->times().total_s += seconds_since(began_ns);
  packed.checksums = std::move(checksums);
}

// Keeps others out of the folder while it lives.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    if (fd_ >= 0) ::close(fd_);
    fail(Fault::io, "{}: cannot be taken: is another flashmoe pack at work there?", folder);
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

PackReport Packer::run() {
  const PackPlan plan = this->plan();
  if (options_.ram_bytes > 0 && plan.memory_bytes > options_.ram_bytes) {
    fail(Fault::usage, "--ram: packing this model needs {}", human_bytes(plan.memory_bytes));
  }
  if (plan.needed_bytes > plan.free_bytes) {
    fail(Fault::io, "{}: not enough space: {} needed, {} free", options_.destination, human_bytes(plan.needed_bytes),
         human_bytes(plan.free_bytes));
  }
  std::error_code error;
  fs::create_directories(options_.destination, error);
  if (error) fail(Fault::io, "{}: cannot make the folder: {}", options_.destination, error.message());
  const FolderLock lock(options_.destination);
  start_ns_ = now_ns();
  check_what_is_there();
  total_bytes_ = bytes_left();
  pool_ = std::make_unique<ThreadPool>(options_.n_threads > 0 ? options_.n_threads : usable_cpus());
  pipeline_ = std::make_unique<Pipeline>(source_.checkpoint(), *pool_, options_.allow_nonfinite);
  if (manifest_.trunk_bytes == 0) {
    pack_trunk();
    done_bytes_ += trunk_.bytes;
    remember();
  }
  for (size_t i = 0; i < manifest_.layers.size(); ++i) {
    if (!manifest_.layers[i].checksums.empty()) continue;
    pack_layer(i);
    done_bytes_ += manifest_.layers[i].stride() * static_cast<uint64_t>(manifest_.n_experts);
    remember();
  }
  remember();
  fs::rename(path(kUnfinishedManifestName), path(kManifestName), error);
  if (error) fail(Fault::io, "{}: cannot be renamed: {}", path(kUnfinishedManifestName), error.message());
  sync_folder(options_.destination);
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
  return Packer(options).plan();
}

PackReport pack(const PackOptions& options) {
  refuse_same_place(options);
  return Packer(options).run();
}

}  // namespace flashmoe
