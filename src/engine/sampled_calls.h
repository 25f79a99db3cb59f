// Answers that called tools, as they were sampled: a client gives a call back as JSON, which tells neither how a number
// was written nor white space nor, once it went through the client's own objects, the order of keys. Any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/session_folder.h"

namespace flashmoe {

class SampledCalls {
 public:
  // What was handed out longest ago goes first.
  static constexpr uint64_t kMostBytes = uint64_t{1} << 20;

  // `message`: {"role": "assistant", "content", "tool_calls": [{"id", "function": {"name", "arguments": {...}}}]}.
  void keep(const nlohmann::ordered_json& message, std::string text);
  // The request with each message that gives back a known answer, its calls' ids, names, arguments and its content, in
  // the words that were sampled: they are its content then. Whatever was changed stays as it is.
  nlohmann::ordered_json restored(nlohmann::ordered_json chat);

  // Takes in what of the files is words. These two on the folder's thread.
  void recall(const std::vector<SessionFolder::Found>& found, SessionFolder& folder);
  // Writes one answer that is in memory alone, or tells that one was used. False when there is none, or the folder
  // takes none now.
  bool save_one(SessionFolder& folder);

 private:
  struct Entry {
    std::string id;       // of the first call
    nlohmann::json said;  // content, ids, names and arguments, whatever the order of keys
    std::string text;
    bool on_disk = false, used = false;
    uint64_t bytes() const { return 2 * text.size() + id.size(); }
  };
  Entry* find(const nlohmann::ordered_json& message);
  void add(Entry entry);

  std::mutex mutex_;  // guards what follows
  std::deque<Entry> entries_;
  uint64_t bytes_ = 0;
};

}  // namespace flashmoe
