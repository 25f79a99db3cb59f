// Chats on disk: one JSON file each, readable by their owner only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chat/conversation.h"

namespace flashmoe {

struct Transcript {
  std::string id;  // of the file's name
  std::string model;
  int64_t updated_s = 0;    // Unix time
  std::string forked_from;  // an id, or empty
  Conversation conversation;
};

class TranscriptStore {
 public:
  // The folder is made when the first transcript is saved.
  explicit TranscriptStore(std::string folder) : folder_(std::move(folder)) {}

  // Sorts by time, and is not in use.
  std::string new_id() const;

  // Appears whole or not at all, mode 0600. Throws Error{io}.
  void save(Transcript& transcript) const;
  void remove(const std::string& id) const;  // if it is there
  // Throws Error{input} for a file that is damaged, Error{io} for one that cannot be read.
  Transcript load(const std::string& id) const;

  struct Damaged {
    std::string id, what;    // one line: which file, and why it was skipped
    int64_t modified_s = 0;  // Unix time
  };
  struct Listing {
    std::vector<Transcript> transcripts;  // the latest first
    std::vector<Damaged> damaged;         // the latest first
  };
  Listing list() const;

  // The transcript that `name` means: "last", a number in the order of list(), or an id or its beginning. Throws
  // Error{input} when there is none or more than one, and when it is damaged.
  Transcript find(const std::string& name) const;
  // What to tell when there is none: where they would be.
  std::string none_kept() const;
  const std::string& folder() const { return folder_; }

 private:
  std::string path_of(const std::string& id) const;
  std::string folder_;
};

}  // namespace flashmoe
