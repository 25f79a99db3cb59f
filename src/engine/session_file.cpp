#include "engine/session_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/checksum.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr std::string_view kMagic = "fmsess03", kMagicOfAll = "fmsess";
constexpr size_t kFixedBytes = 52;  // before the identity
constexpr uint64_t kMostHeaderBytes = 64 * kMiB;
constexpr uint64_t kPieceBytes = 4 * kMiB;

// What stands at the beginning, little-endian.
struct Fixed {
  char magic[8];
  uint32_t header_bytes;  // to the payload
  uint32_t part;
  uint64_t n_before, n_tokens;
  uint64_t payload_bytes, payload_checksum;
  uint32_t identity_bytes;
} __attribute__((packed));
static_assert(sizeof(Fixed) == kFixedBytes);

std::string header_text(const std::string& identity, const SessionRecord& record, uint64_t payload_bytes,
                        uint64_t payload_checksum) {
  const size_t id_bytes = record.ids.size() * sizeof(int32_t);
  const uint64_t header_bytes = kFixedBytes + identity.size() + id_bytes + sizeof(uint64_t);
  CHECK(header_bytes <= kMostHeaderBytes);
  Fixed fixed = {};
  std::memcpy(fixed.magic, kMagic.data(), kMagic.size());
  fixed.header_bytes = static_cast<uint32_t>(header_bytes);
  fixed.part = static_cast<uint32_t>(record.part);
  fixed.n_before = static_cast<uint64_t>(record.n_before);
  fixed.n_tokens = record.ids.size();
  fixed.payload_bytes = payload_bytes;
  fixed.payload_checksum = payload_checksum;
  fixed.identity_bytes = static_cast<uint32_t>(identity.size());
  std::string text(reinterpret_cast<const char*>(&fixed), sizeof(fixed));
  text += identity;
  text.append(reinterpret_cast<const char*>(record.ids.data()), id_bytes);
  const uint64_t checksum = checksum_of(std::as_bytes(std::span(text)));
  text.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return text;
}

// Written beside its place and renamed. Without fsync: what a crash leaves behind is told by its checksum.
class Partial {
 public:
  explicit Partial(const std::string& path)
      : path_(path), partial_(path + "." + std::to_string(::getpid()) + ".partial") {
    fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd_ < 0) complain();
  }
  ~Partial() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(partial_.c_str());
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), kPieceBytes));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) complain();
      bytes = bytes.subspan(static_cast<size_t>(n));
      hand_over(static_cast<uint64_t>(n));
    }
  }
  void commit() {
    if (::close(std::exchange(fd_, -1)) != 0 || ::rename(partial_.c_str(), path_.c_str()) != 0) {
      const int error = errno;
      ::unlink(partial_.c_str());
      errno = error;
      complain();
    }
  }

 private:
  // The drive gets each piece while the next is written, and the page cache forgets the one before.
  void hand_over(uint64_t n) {
    written_ += static_cast<off_t>(n);
    if (written_ - begun_ < static_cast<off_t>(kPieceBytes)) return;
    ::sync_file_range(fd_, begun_, written_ - begun_, SYNC_FILE_RANGE_WRITE);
    if (begun_ > gone_) {
      ::sync_file_range(fd_, gone_, begun_ - gone_,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
      ::posix_fadvise(fd_, gone_, begun_ - gone_, POSIX_FADV_DONTNEED);
    }
    gone_ = std::exchange(begun_, written_);
  }
  [[noreturn]] void complain() const {
    fail(Fault::io, "{}: cannot be written: {}", path_, std::generic_category().message(errno));
  }

  std::string path_, partial_;
  int fd_ = -1;
  off_t written_ = 0, begun_ = 0, gone_ = 0;  // bytes written, on their way to the drive, and out of the page cache
};

}  // namespace

uint64_t size_of(const SessionBytes& bytes) {
  uint64_t n = 0;
  for (const auto& piece : bytes) n += piece.size();
  return n;
}

uint64_t session_file_bytes(const std::string& identity, const SessionRecord& record, uint64_t payload_bytes) {
  return kFixedBytes + identity.size() + record.ids.size() * sizeof(int32_t) + sizeof(uint64_t) + payload_bytes;
}

void write_session_file(const std::string& path, const std::string& identity, const SessionRecord& record,
                        const SessionBytes& payload) {
  Checksum checksum;
  for (const auto& piece : payload) checksum.add(piece);
  const std::string header = header_text(identity, record, size_of(payload), checksum.value());
  Partial file(path);
  file.write(std::as_bytes(std::span(header)));
  for (const auto& piece : payload) file.write(piece);
  file.commit();
}

SessionFile::SessionFile(std::shared_ptr<File> file, const std::string& identity) : file_(std::move(file)) {
  const std::string& path = file_->path();
  const auto damaged = [&](const char* what) { fail(Fault::input, "{}: is damaged: {}", path, what); };
  Fixed fixed = {};
  if (file_->size() < sizeof(fixed)) damaged("it is too short");
  file_->read(0, std::as_writable_bytes(std::span(&fixed, 1)));
  const std::string_view magic(fixed.magic, sizeof(fixed.magic));
  if (!magic.starts_with(kMagicOfAll)) damaged("it is no session file");
  if (magic != kMagic) fail(Fault::unsupported, "{}: is of another version of the format", path);
  const uint64_t header_bytes = fixed.header_bytes;
  if (header_bytes > std::min(kMostHeaderBytes, file_->size()) || fixed.identity_bytes > header_bytes ||
      fixed.n_tokens > header_bytes / sizeof(int32_t) ||
      header_bytes != kFixedBytes + fixed.identity_bytes + fixed.n_tokens * sizeof(int32_t) + sizeof(uint64_t)) {
    damaged("its header does not fit");
  }
  if (fixed.payload_bytes != file_->size() - header_bytes) damaged("it was cut short");
  std::string header(header_bytes, '\0');
  file_->read(0, std::as_writable_bytes(std::span(header)));
  uint64_t checksum = 0;
  const size_t checked = header_bytes - sizeof(checksum);
  std::memcpy(&checksum, header.data() + checked, sizeof(checksum));
  if (checksum != checksum_of(std::as_bytes(std::span(header).first(checked)))) damaged("its header has other bytes");
  if (fixed.part < static_cast<uint32_t>(SessionPart::kv) || fixed.part > static_cast<uint32_t>(SessionPart::words)) {
    damaged("it holds nothing that is known");
  }
  if (fixed.n_before > fixed.n_tokens) damaged("its stretch begins behind its end");
  if (std::string_view(header).substr(kFixedBytes, fixed.identity_bytes) != identity) {
    fail(Fault::unsupported, "{}: is of another model, or of this one computed in another way", path);
  }
  record_.part = static_cast<SessionPart>(fixed.part);
  record_.n_before = static_cast<int64_t>(fixed.n_before);
  record_.ids.resize(fixed.n_tokens);
  std::memcpy(record_.ids.data(), header.data() + kFixedBytes + fixed.identity_bytes, fixed.n_tokens * sizeof(int32_t));
  payload_at_ = header_bytes;
  payload_bytes_ = fixed.payload_bytes;
  payload_checksum_ = fixed.payload_checksum;
}

void SessionFile::read(const SessionBytes& into) const {
  CHECK(size_of(into) == payload_bytes_);
  Checksum checksum;
  uint64_t at = payload_at_;
  for (const auto& piece : into) {
    for (uint64_t done = 0; done < piece.size(); done += kPieceBytes) {
      const auto part = piece.subspan(done, std::min<uint64_t>(kPieceBytes, piece.size() - done));
      file_->read(at, part);
      checksum.add(part);
      at += part.size();
    }
  }
  file_->drop_page_cache();
  if (checksum.value() != payload_checksum_) fail(Fault::input, "{}: is damaged: it has other bytes", file_->path());
}

}  // namespace flashmoe
