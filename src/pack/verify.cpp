#include "pack/verify.h"

#include <filesystem>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/trunk_checksums.h"
#include "flashmoe/pack.h"
#include "pack/pack_identity.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

}  // namespace

uint64_t bytes_to_verify(const Manifest& manifest) {
  uint64_t total = manifest.trunk_bytes;
  for (const PackedLayer& layer : manifest.layers) total += layer.record_bytes() * layer.checksums.size();
  return total;
}

std::function<void(uint64_t)> verifying(const PackOptions& options, uint64_t total, const std::string& how_to_go_on) {
  return [&options, total, how_to_go_on, done = uint64_t{0}, start_ns = now_ns()](uint64_t bytes) mutable {
    done += bytes;
    if (options.on_progress)
      options.on_progress({"verifying", Progress::Unit::bytes, done, total, seconds_since(start_ns)});
    if (options.keep_going && !options.keep_going()) fail(Fault::interrupted, "{}", how_to_go_on);
  };
}

uint64_t task_checksum(const File& file, const Task& task) {
  Checksum checksum;
  const auto parts = task.matrix.to.part_bytes();
  std::vector<std::byte> buffer;
  for (size_t p = 0; p < parts.size(); ++p) {
    if (parts[p] == 0) continue;
    buffer.resize(static_cast<size_t>(parts[p]));
    file.read(task.at[p], buffer);
    checksum.add(buffer);
  }
  return checksum.value();
}

std::optional<size_t> first_difference(const File& bank, const PackedLayer& layer,
                                       const std::function<void(uint64_t)>& on_bytes) {
  std::vector<std::byte> record(static_cast<size_t>(layer.record_bytes()));
  for (size_t e = 0; e < layer.checksums.size(); ++e) {
    bank.read(e * layer.stride(), record);
    if (checksum_of(record) != layer.checksums[e]) return e;
    if (on_bytes) on_bytes(record.size());
  }
  return std::nullopt;
}

bool is_packed(const std::string& folder) {
  std::error_code error;
  return fs::exists(fs::path(folder) / kManifestName, error);
}

uint64_t verify_pack(const PackOptions& options) {
  const fs::path folder(options.destination);
  const Manifest manifest = Manifest::parse(*open_file((folder / kManifestName).string()));
  if (manifest.settings != settings_of(Recipe(options), Importance(options.imatrix))) {
    fail(Fault::usage, "{}: was packed in other formats than these options say; give those it was packed with",
         options.destination);
  }
  const uint64_t total = bytes_to_verify(manifest);
  const auto note = verifying(options, total, "interrupted while verifying");
  const auto trunk = open_file((folder / kTrunkName).string());
  trunk->drop_page_cache();
  if (const auto damage = damage_of_trunk(*trunk, manifest, note)) {
    fail(Fault::io, "{}: {} is damaged: not what manifest.json says; pack anew", trunk->path(), *damage);
  }
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    const auto bank = open_file((folder / manifest.bank_name(i)).string());
    bank->drop_page_cache();
    const uint64_t bytes = manifest.bank_bytes(i);
    if (bank->size() != bytes) {
      fail(Fault::io, "{}: has {} bytes, manifest.json says {}; pack anew", bank->path(), bank->size(), bytes);
    }
    if (const auto expert = first_difference(*bank, manifest.layers[i], note)) {
      fail(Fault::io, "{}: expert {} of layer {} is damaged: its checksum is not the one in manifest.json; pack anew",
           bank->path(), *expert, i);
    }
  }
  return total;
}

}  // namespace flashmoe
