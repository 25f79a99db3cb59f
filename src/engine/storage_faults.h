// What a service's storage does to it: steps that fail, files that change, drives that are given up.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/file.h"

namespace flashmoe {

// add, passed and note_missing_drives are for the engine's thread, the others for any.
class StorageFaults {
 public:
  // The files live as long as this. A reason that was told is told again when it comes back after steps that passed
  // and `calm_ns` without it: a drive that fails now and then does not fill a log.
  explicit StorageFaults(const std::vector<std::shared_ptr<File>>& files, uint64_t calm_ns = 60'000'000'000)
      : files_(files), calm_ns_(calm_ns) {}

  // A step failed. Errors that differ in numbers and in what stands in parentheses alone, as those of several experts
  // of one file do, have the same reason.
  void add(const Error& error);
  // A step was made.
  void passed() { passed_ = true; }
  // That the model is read without (IoStats::missing_drives). Any that are new are a note.
  void note_missing_drives(const std::string& drives);

  // Since the last call, one line each.
  std::vector<std::string> take_faults();
  std::vector<std::string> take_notes();
  // Why steps fail until the model is opened anew: one of its files changed. Empty: there is no such reason.
  std::string lasting() const;

 private:
  const std::vector<std::shared_ptr<File>>& files_;
  const uint64_t calm_ns_;
  std::string reason_, drives_;  // told last
  uint64_t failed_ns_ = 0;
  bool passed_ = false;  // a step, since the last that failed

  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::string> faults_, notes_;
  std::string lasting_;
};

}  // namespace flashmoe
