// Remembered conversations on disk: a folder of session files that several processes and models may share. What was
// used longest ago goes when the folder grows beyond its size. Belongs to the engine's thread; notes() to any.
#pragma once

#include <mutex>
#include <optional>
#include <unordered_set>

#include "engine/session_file.h"

namespace flashmoe {

class SessionFolder {
 public:
  // Makes the folder, readable by its owner only, where it is missing. Throws Error{io} when nothing can be written
  // there.
  SessionFolder(std::string path, uint64_t most_bytes, std::string identity);

  // What is there of this identity, what was used longest ago first; a note for each file that is skipped. Damaged ones
  // are removed.
  struct Found {
    SessionRecord record;
    uint64_t payload_bytes = 0;
  };
  std::vector<Found> scan();

  // False when it could not be written; after a failure nothing is tried for a minute.
  bool write(const SessionRecord& record, const SessionBytes& payload);
  // False when there is no such file any more, or it was damaged; then `into` holds anything.
  bool read(const SessionRecord& record, const SessionBytes& into);
  // Counts as used now.
  void touch(const SessionRecord& record) const;
  bool resting() const;  // after a failure

  std::string name_of(const SessionRecord& record) const;
  // Whether a file of this name was there when this process looked last, which it does before it writes.
  bool had(const std::string& name) const { return names_.contains(name); }
  uint64_t n_removals() const { return n_removals_; }  // grows when files that were there are not any more

  uint64_t n_files() const { return n_files_; }  // of all models, when this process looked last
  uint64_t bytes() const { return bytes_; }
  std::vector<std::string> take_notes();

 private:
  struct Entry {
    std::string name;
    uint64_t bytes = 0;
    int64_t used_ns = 0;
  };
  std::vector<Entry> entries();
  bool make_room(uint64_t bytes);
  std::string path_of(const SessionRecord& record) const { return path_ + "/" + name_of(record); }
  void remove(const std::string& name);
  void note(std::string line);

  const std::string path_;
  const uint64_t most_bytes_;
  const std::string identity_, prefix_;
  std::unordered_set<std::string> names_;
  uint64_t n_files_ = 0, bytes_ = 0, n_removals_ = 0;
  uint64_t rests_until_ns_ = 0;
  std::mutex mutex_;
  std::vector<std::string> notes_;  // guarded by mutex_
};

}  // namespace flashmoe
