#include "experts/trace_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "experts/trace_encoding.h"

namespace flashmoe {
namespace {

constexpr size_t kBlockHead = 8;                // length and checksum
constexpr size_t kWaitingBytes = 256 << 10;     // written together,
constexpr uint64_t kWaitingNs = 1'000'000'000;  // or what has waited so long

[[noreturn]] void fail_to_write(const std::string& path, int error) {
  fail(Fault::io, "cannot write {}: {}", path, std::strerror(error));
}

}  // namespace

TraceWriter::TraceWriter(const std::string& path, const TraceHeader& header, uint64_t limit_bytes)
    : path_(path), header_(header), limit_bytes_(limit_bytes) {
  const std::string json = header_json(header);
  waiting_.reserve(2 * kWaitingBytes);
  waiting_ = kTraceMagic;
  put(waiting_, static_cast<uint32_t>(json.size()));
  waiting_ += json;
  for (const float rate : header.rates) put(waiting_, rate);
  put(waiting_, trace_checksum(std::string_view(waiting_).substr(kTraceMagic.size() + 4)));
  bytes_ = waiting_.size() + kTraceEndBytes;
  if (const uint64_t least_bytes = bytes_ + kBlockHead + most_token_bytes(header); limit_bytes < least_bytes) {
    fail(Fault::usage, "--trace-limit {}: a trace of this model begins with {} and a token may take {}; raise it",
         human_bytes(limit_bytes), human_bytes(bytes_), human_bytes(least_bytes - bytes_));
  }
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_to_write(path_, errno);
  flushed_ns_ = now_ns();
}

TraceWriter::~TraceWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void TraceWriter::write(const TraceStep& step) {
  if (counts_.full) return;
  block_.clear();
  encode_step(header_, step, last_start_ns_, block_);
  if (block_.size() > kTraceBlockMost || bytes_ + kBlockHead + block_.size() > limit_bytes_) {
    counts_.full = true;
    return;
  }
  bytes_ += kBlockHead + block_.size();
  last_start_ns_ = step.start_ns / kTraceTickNs * kTraceTickNs;
  ++counts_.n_steps;
  counts_.n_rows += static_cast<uint64_t>(step.n_rows);
  if (step.decode) counts_.n_decoded += static_cast<uint64_t>(step.n_rows);
  put(waiting_, static_cast<uint32_t>(block_.size()));
  put(waiting_, trace_checksum(block_));
  waiting_ += block_;
  if (waiting_.size() >= kWaitingBytes || now_ns() - flushed_ns_ >= kWaitingNs) flush();
}

TraceEnd TraceWriter::finish(TraceEnd end) {
  end.n_steps = counts_.n_steps;
  end.n_rows = counts_.n_rows;
  end.n_decoded = counts_.n_decoded;
  end.full = counts_.full;
  waiting_ += encode_end(end);
  flush();
  if (::close(std::exchange(descriptor_, -1)) != 0) fail_to_write(path_, errno);
  return end;
}

void TraceWriter::flush() {
  std::string_view left = waiting_;
  while (!left.empty()) {
    const ssize_t written = ::write(descriptor_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to_write(path_, errno);
    left.remove_prefix(static_cast<size_t>(written));
  }
  waiting_.clear();
  flushed_ns_ = now_ns();
}

}  // namespace flashmoe
