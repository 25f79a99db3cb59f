#include "support/fake_read_queue.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

class MemoryFile final : public File {
 public:
  MemoryFile(std::string path, int fd, std::shared_ptr<std::vector<std::byte>> content,
             std::shared_ptr<uint64_t> dropped_bytes)
      : path_(std::move(path)), fd_(fd), content_(std::move(content)), dropped_bytes_(std::move(dropped_bytes)) {}
  const std::string& path() const override { return path_; }
  uint64_t size() const override { return content_->size(); }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size() || out.size() > size() - offset) fail(Fault::io, "{}: ends before {}", path_, offset);
    std::memcpy(out.data(), content_->data() + offset, out.size());
  }
  int buffered_fd() const override { return fd_; }
  int direct_fd() const override { return fd_; }
  void drop_page_cache(uint64_t, uint64_t bytes) const override { *dropped_bytes_ += bytes; }

 private:
  std::string path_;
  int fd_;
  std::shared_ptr<std::vector<std::byte>> content_;
  std::shared_ptr<uint64_t> dropped_bytes_;
};

// What memory looks like while a read into it is under way.
constexpr int kInFlight = 0xA5;

bool is_untouched(const ReadRequest& request) {
  return request.bytes == 0 || (request.dest[0] == std::byte{kInFlight} &&
                                std::memcmp(request.dest, request.dest + 1, request.bytes - 1) == 0);
}

}  // namespace

std::shared_ptr<File> FakeDisk::add(std::string path, std::vector<std::byte> content) {
  contents_.push_back(std::make_shared<std::vector<std::byte>>(std::move(content)));
  return std::make_shared<MemoryFile>(std::move(path), static_cast<int>(contents_.size()) - 1, contents_.back(),
                                      dropped_bytes_);
}

void FakeDisk::fail_at(int fd, uint64_t offset, int error, int n_times) {
  faults_.push_back({fd, offset, error, n_times});
}

int FakeDisk::read(const ReadRequest& request) {
  ++n_reads_;
  for (FaultyByte& fault : faults_) {
    const bool touched =
        fault.fd == request.fd && fault.offset >= request.offset && fault.offset < request.offset + request.bytes;
    if (touched && fault.n_times > 0) {
      --fault.n_times;
      return fault.error;
    }
  }
  const std::vector<std::byte>& bytes = content(request.fd);
  const auto end = ends_.find(request.fd);
  const uint64_t size = end == ends_.end() ? bytes.size() : std::min<uint64_t>(end->second, bytes.size());
  const uint64_t n = request.offset >= size ? 0 : std::min(request.bytes, size - request.offset);
  if (n > 0) std::memcpy(request.dest, bytes.data() + request.offset, n);
  return n >= request.needed_bytes ? 0 : ENODATA;
}

FakeReadQueue::FakeReadQueue(std::shared_ptr<FakeDisk> disk, uint32_t seed, int max_delay, int depth)
    : disk_(std::move(disk)), random_(seed), max_delay_(max_delay), depth_(depth) {}

FakeReadQueue::~FakeReadQueue() {
  while (!waiting_.empty()) complete(waiting_.size() - 1);
}

void FakeReadQueue::submit(std::span<const ReadRequest> requests) {
  for (const ReadRequest& request : requests) {
    CHECK(request.needed_bytes <= request.bytes);
    std::memset(request.dest, kInFlight, request.bytes);
    waiting_.push_back({request, static_cast<int>(random_() % static_cast<unsigned>(max_delay_ + 1))});
  }
}

void FakeReadQueue::complete(size_t i) {
  const ReadRequest request = waiting_[i].request;
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
  CHECK(is_untouched(request));
  const int error = disk_->read(request);
  done_.push_back({request.tag, error, error == EIO ? 3 : 1});  // as the real ones give up
}

std::span<const ReadDone> FakeReadQueue::wait(bool block) {
  done_.clear();
  do {
    for (Waiting& waiting : waiting_) --waiting.n_waits_left;
    for (int tries = 0; tries < 3 && !waiting_.empty(); ++tries) {
      const size_t i = random_() % std::min(waiting_.size(), static_cast<size_t>(depth_));
      if (waiting_[i].n_waits_left < 0) complete(i);
    }
  } while (block && done_.empty() && !waiting_.empty());
  return done_;
}

}  // namespace flashmoe
