#include "engine/session_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <utility>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/error.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kRest_ns = 60'000'000'000;
constexpr int64_t kAbandoned_ns = 3600LL * 1'000'000'000;  // a file that nobody goes on writing
constexpr std::string_view kKv = ".kv", kState = ".state", kWords = ".words", kPartial = ".partial";

std::string_view ending_of(SessionPart part) {
  switch (part) {
    case SessionPart::kv:
      return kKv;
    case SessionPart::state:
      return kState;
    case SessionPart::words:
      return kWords;
  }
  return {};
}

}  // namespace

SessionFolder::SessionFolder(std::string path, uint64_t most_bytes, std::string identity)
    : path_(std::move(path)),
      most_bytes_(most_bytes),
      identity_(std::move(identity)),
      prefix_(show_checksum(checksum_of(std::as_bytes(std::span(identity_)))) + "-") {
  std::error_code error;
  const fs::path parent = fs::path(path_).lexically_normal().parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    fail(Fault::io, "{}: cannot make this folder for sessions: {}", path_, std::generic_category().message(errno));
  }
  if (::access(path_.c_str(), R_OK | W_OK | X_OK) != 0 || !fs::is_directory(path_, error)) {
    fail(Fault::io, "{}: is no folder that sessions can be written to; name another with --sessions", path_);
  }
}

std::string SessionFolder::name_of(const SessionRecord& record) const {
  const std::string ids = show_checksum(checksum_of(std::as_bytes(std::span(record.ids))));
  return fmt::format("{}{}-{}{}", prefix_, ids, record.n_before, ending_of(record.part));
}

void SessionFolder::remove(const std::string& name) {
  ::unlink((path_ + "/" + name).c_str());
  if (names_.erase(name) > 0) ++n_removals_;
}

// Of all models, what was used longest ago first. Files of other kinds are none of ours.
std::vector<SessionFolder::Entry> SessionFolder::entries() {
  std::vector<Entry> all;
  const auto now_s = static_cast<int64_t>(std::time(nullptr));
  std::error_code error;
  n_files_ = bytes_ = 0;
  const std::unordered_set<std::string> before = std::exchange(names_, {});
  for (fs::directory_iterator file(path_, error), end; !error && file != end; file.increment(error)) {
    const std::string name = file->path().filename().string();
    struct stat status = {};
    if (::lstat(file->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const int64_t used_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (name.ends_with(kPartial) && now_s * 1'000'000'000 - used_ns > kAbandoned_ns) ::unlink(file->path().c_str());
    if (!name.ends_with(kKv) && !name.ends_with(kState) && !name.ends_with(kWords)) continue;
    all.push_back({name, static_cast<uint64_t>(status.st_size), used_ns});
    names_.insert(name);
    ++n_files_;
    bytes_ += all.back().bytes;
  }
  for (const std::string& name : before) n_removals_ += names_.contains(name) ? 0 : 1;
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.used_ns < b.used_ns; });
  return all;
}

std::vector<SessionFolder::Found> SessionFolder::scan() {
  std::vector<Found> found;
  for (const Entry& entry : entries()) {
    if (!entry.name.starts_with(prefix_)) continue;
    const std::string path = path_ + "/" + entry.name;
    try {
      const SessionFile file(open_file(path), identity_);
      found.push_back({file.record(), file.payload_bytes()});
    } catch (const Error& error) {
      note(std::string(error.what()) + "; it is not used");
      if (error.fault() == Fault::input) remove(entry.name);
    }
  }
  return found;
}

// Removes what was used longest ago until `bytes` more fit. False where they never do.
bool SessionFolder::make_room(uint64_t bytes) {
  const auto all = entries();
  if (bytes > most_bytes_) {
    note(fmt::format("{}: {} bytes of a session are more than --sessions-size allows; they are not kept on disk", path_,
                     bytes));
    return false;
  }
  for (const Entry& entry : all) {
    if (bytes_ + bytes <= most_bytes_) break;
    remove(entry.name);
    bytes_ -= entry.bytes;
    --n_files_;
  }
  return true;
}

bool SessionFolder::resting() const { return now_ns() < rests_until_ns_; }

bool SessionFolder::write(const SessionRecord& record, const SessionBytes& payload) {
  if (resting()) return false;
  const uint64_t bytes = session_file_bytes(identity_, record, size_of(payload));
  if (!make_room(bytes)) {
    rests_until_ns_ = now_ns() + kRest_ns;
    return false;
  }
  ::mkdir(path_.c_str(), 0700);  // it may have been deleted
  try {
    write_session_file(path_of(record), identity_, record, payload);
  } catch (const Error& error) {
    note(std::string(error.what()) + "; sessions are kept in memory alone for a minute");
    rests_until_ns_ = now_ns() + kRest_ns;
    return false;
  }
  names_.insert(name_of(record));
  ++n_files_;
  bytes_ += bytes;
  return true;
}

bool SessionFolder::read(const SessionRecord& record, const SessionBytes& into) {
  const std::string path = path_of(record);
  if (::access(path.c_str(), F_OK) != 0) return false;  // another process needed the room
  try {
    const SessionFile file(open_file(path), identity_);
    const SessionRecord& there = file.record();
    if (there.part != record.part || there.n_before != record.n_before || there.ids != record.ids ||
        file.payload_bytes() != size_of(into)) {
      fail(Fault::input, "{}: is damaged: it holds another session than its name says", path);
    }
    file.read(into);
    return true;
  } catch (const Error& error) {
    note(std::string(error.what()) + "; what it held is computed again");
    if (error.fault() == Fault::input) remove(name_of(record));
    return false;
  }
}

void SessionFolder::touch(const SessionRecord& record) const {
  // The clock that the kernel stamps with stands still for milliseconds.
  timespec now[2];
  ::clock_gettime(CLOCK_REALTIME, &now[0]);
  now[1] = now[0];
  ::utimensat(AT_FDCWD, path_of(record).c_str(), now, AT_SYMLINK_NOFOLLOW);
}

void SessionFolder::note(std::string line) {
  const std::lock_guard lock(mutex_);
  notes_.push_back(std::move(line));
}

std::vector<std::string> SessionFolder::take_notes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(notes_, {});
}

}  // namespace flashmoe
