#include "experts/trace_reader.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "experts/trace_encoding.h"
#include "experts/trace_text.h"

namespace flashmoe {
namespace {

constexpr size_t kReadBytes = 1 << 20;  // at once

class BinaryTrace final : public TraceReader {
 public:
  BinaryTrace(std::shared_ptr<File> file, bool unfinished, const OnLookedThrough& on_looked_through)
      : file_(std::move(file)) {
    const bool whole = read_end(unfinished);
    read_header();
    count_.assign(static_cast<size_t>(header_.n_experts), 0);
    steps_end_ = whole ? file_->size() - kTraceEndBytes : file_->size();
    if (!whole) count_whole_steps(on_looked_through);
  }

  bool next(TraceStep& step) override {
    if (at_ == steps_end_ && n_read_ == end_.n_steps) return false;
    const auto n = at_ < steps_end_ ? read<uint32_t>() : 0;
    if (n == 0) refuse("steps are missing");
    const auto checksum = read<uint32_t>();
    if (n > kTraceBlockMost || n > file_->size() - at_) refuse("a step reaches beyond the end");
    const std::string_view block = take(n);
    if (trace_checksum(block) != checksum) refuse("a step is damaged");
    decode_step(header_, block, file_->path(), last_start_ns_, count_, step);
    last_start_ns_ = step.start_ns;
    ++n_read_;
    return true;
  }

  void rewind() override {
    at_ = first_step_;
    n_read_ = last_start_ns_ = 0;
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    fail(Fault::input, "{}: not a sound routing trace: {}", file_->path(), why);
  }

  // False when there is none, which may be so only if it is `unfinished`.
  bool read_end(bool unfinished) {
    const uint64_t size = file_->size();
    std::string bytes(kTraceEndBytes, '\0');
    if (size >= kTraceMagic.size() + kTraceEndBytes) {
      file_->read(size - kTraceEndBytes, std::as_writable_bytes(std::span(bytes)));
    }
    if (decode_end(bytes, end_)) return true;
    if (unfinished) return false;
    fail(Fault::input,
         "{}: this routing trace has no end: it was cut short, or is still being written; --unfinished reads what is "
         "there",
         file_->path());
  }

  // Up to the first one that is not whole: the rest was on its way when the writer ended.
  void count_whole_steps(const OnLookedThrough& on_looked_through) {
    end_.n_steps = UINT64_MAX;
    TraceEnd counted;
    TraceStep step;
    uint64_t whole_until = at_;
    try {
      while (next(step)) {
        if (on_looked_through && at_ / kReadBytes != whole_until / kReadBytes) on_looked_through(at_);
        whole_until = at_;
        ++counted.n_steps;
        counted.n_rows += static_cast<uint64_t>(step.n_rows);
        if (step.decode) counted.n_decoded += static_cast<uint64_t>(step.n_rows);
      }
    } catch (const Error& error) {
      if (error.fault() != Fault::input) throw;
    }
    end_ = counted;
    steps_end_ = whole_until;
    rewind();
  }

  void read_header() {
    at_ = kTraceMagic.size();
    const auto n = read<uint32_t>();
    if (n > kTraceHeaderMost || n > file_->size() - at_) refuse("its header is damaged");
    const uint64_t begin = at_;
    header_ = parse_header(std::string(take(n)), file_->path());
    for (float& rate : header_.rates) {
      rate = read<float>();
      if (!(rate >= 0 && rate <= 1)) refuse("its header is damaged");
    }
    std::string bytes(at_ - begin, '\0');
    file_->read(begin, std::as_writable_bytes(std::span(bytes)));
    if (read<uint32_t>() != trace_checksum(bytes)) refuse("its header is damaged");
    first_step_ = at_;
  }

  template <typename T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  // The next n bytes; valid until the next call.
  std::string_view take(size_t n) {
    if (n > file_->size() - at_) refuse("it ends too early");
    if (at_ < buffer_at_ || at_ + n > buffer_at_ + buffer_.size()) {
      buffer_.resize(static_cast<size_t>(std::min<uint64_t>(std::max(n, kReadBytes), file_->size() - at_)));
      file_->read(at_, std::as_writable_bytes(std::span(buffer_)));
      buffer_at_ = at_;
    }
    const std::string_view bytes = std::string_view(buffer_).substr(static_cast<size_t>(at_ - buffer_at_), n);
    at_ += n;
    return bytes;
  }

  std::shared_ptr<File> file_;
  std::string buffer_;
  uint64_t buffer_at_ = 0, at_ = 0, first_step_ = 0, steps_end_ = 0;
  uint64_t n_read_ = 0, last_start_ns_ = 0;
  std::vector<int32_t> count_;
};

}  // namespace

std::unique_ptr<TraceReader> open_trace(const std::string& path, bool unfinished) {
  return open_trace(open_file(path), unfinished);
}

std::unique_ptr<TraceReader> open_trace(std::shared_ptr<File> file, bool unfinished,
                                        const OnLookedThrough& on_looked_through) {
  const std::string path = file->path();
  std::string start(static_cast<size_t>(std::min<uint64_t>(kTraceMagic.size(), file->size())), '\0');
  file->read(0, std::as_writable_bytes(std::span(start)));
  std::unique_ptr<TraceReader> trace;
  if (std::find(kTraceMagics.begin(), kTraceMagics.end(), start) != kTraceMagics.end()) {
    trace = std::make_unique<BinaryTrace>(std::move(file), unfinished, on_looked_through);
  } else if (start.starts_with('{')) {
    trace = open_text_trace(std::move(file), on_looked_through);
  } else if (start.starts_with(kTraceMagic.substr(0, 5))) {
    fail(Fault::unsupported, "{}: a routing trace of version {}; this build reads {} to {}", path, start.substr(5),
         kTraceMagics.front().substr(5), kTraceMagic.substr(5));
  } else {
    fail(Fault::input, "{}: not a routing trace: neither a file of flashmoe run --trace nor JSON lines of picks", path);
  }
  if (trace->end().n_steps == 0) fail(Fault::input, "{}: this routing trace has no tokens", path);
  return trace;
}

}  // namespace flashmoe
