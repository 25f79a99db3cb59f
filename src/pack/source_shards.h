// Deletes a source's files while packing, each when nothing that is still to be packed is in it.
//
// So that packing can go on after a stop, the destination gets a folder `source`: links to the files, copies of the
// small ones beside them, and for each deleted file a sparse stand-in with its size and first MiB, which holds the
// header. The folder goes when packing is done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pack/source.h"

namespace flashmoe {

// What to open in place of `source`: itself, or what the destination has of it. Throws Error{usage} when that is of
// another source.
std::string source_to_open(const std::string& source, const std::string& destination);
// Removes what an earlier run left of it when it was stopped after its last step.
void forget_source(const std::string& destination);

class SourceShards {
 public:
  // Throws Error{usage} for files whose space would not come back: links, and files with several names; Error{io} for
  // folders that cannot be written.
  SourceShards(const PackSource& source, std::string path, std::string destination);

  // Deletes what nothing needs but the trunk and layers that are in `packed` [n_layers]. What they are packed into has
  // been read again and compared before.
  void delete_unneeded(bool trunk_packed, const std::vector<bool>& packed);
  // Bytes that come back when this much is packed.
  uint64_t freed_bytes(bool trunk_packed, const std::vector<bool>& packed) const;
  // Throws Error{io} when a deleted file is needed after all: what it was packed into is no longer whole.
  void refuse_lost(bool trunk_packed, const std::vector<bool>& packed) const;
  // How many files are never deleted, as the packed folder lacks tensors of theirs.
  int n_kept() const;
  int n_files() const { return static_cast<int>(files_.size()); }
  bool is_deleted(size_t file) const { return files_[file].deleted; }

 private:
  struct Shard {
    std::string name, real_path;
    uint64_t bytes = 0;
    bool kept = false, in_trunk = false, deleted = false;
    std::vector<bool> layers;  // [n_layers] that have experts in it
  };
  bool is_unneeded(const Shard& shard, bool trunk_packed, const std::vector<bool>& packed) const;
  void note_use(const PackSource& source);
  void make_folder() const;
  void remove(Shard& shard) const;

  std::string path_, folder_, place_;  // of the source, of `source` in the destination, of the source's files
  std::vector<Shard> files_;
};

}  // namespace flashmoe
