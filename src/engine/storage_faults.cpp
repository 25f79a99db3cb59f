#include "engine/storage_faults.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "io/read_error.h"

namespace flashmoe {
namespace {

std::string reason_of(std::string_view message) {
  std::string reason;
  int n_open = 0;
  for (const char c : message) {
    n_open += c == '(' ? 1 : 0;
    if (n_open == 0 && (c < '0' || c > '9')) reason += c;
    n_open -= c == ')' && n_open > 0 ? 1 : 0;
  }
  return reason;
}

bool tells_of_a_change(std::string_view message) {
  return message.find(read_error_text(ESTALE)) != std::string_view::npos ||
         message.find(read_error_text(ENODATA)) != std::string_view::npos;
}

}  // namespace

void StorageFaults::add(const Error& error) {
  std::string reason = reason_of(error.what());
  const uint64_t now = now_ns();
  const bool again = std::exchange(passed_, false) && now - failed_ns_ >= calm_ns_;
  failed_ns_ = now;
  // A mirror may still have what a changed file no longer gives: then the error is another.
  const auto changed = tells_of_a_change(error.what())
                           ? std::ranges::find_if(files_, [](const auto& file) { return file->has_changed(); })
                           : files_.end();
  const std::lock_guard lock(mutex_);
  if (reason != reason_ || again) faults_.emplace_back(error.what());
  reason_ = std::move(reason);
  if (changed != files_.end() && lasting_.empty()) {
    lasting_ = fmt::format("{}: it changed while it was in use: restore it and start again", (*changed)->path());
  }
}

void StorageFaults::note_missing_drives(const std::string& drives) {
  if (drives == drives_) return;
  drives_ = drives;
  const std::lock_guard lock(mutex_);
  notes_.push_back("the model is read without " + drives_);
}

std::vector<std::string> StorageFaults::take_faults() {
  const std::lock_guard lock(mutex_);
  return std::exchange(faults_, {});
}

std::vector<std::string> StorageFaults::take_notes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(notes_, {});
}

std::string StorageFaults::lasting() const {
  const std::lock_guard lock(mutex_);
  return lasting_;
}

}  // namespace flashmoe
