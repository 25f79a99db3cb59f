// Many reads in flight at once. One thread submits and waits; the queue's own threads or the kernel do the reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace flashmoe {

struct ReadRequest {
  int fd = -1;
  uint64_t offset = 0;
  uint64_t bytes = 0;         // with O_DIRECT: offset, bytes and dest all aligned
  uint64_t needed_bytes = 0;  // a read that stops at the end of the file is complete from here on; <= bytes
  std::byte* dest = nullptr;  // must stay valid until the read is done
  uint64_t tag = 0;           // the caller's own, handed back
  // Bit set: drives to read from only where no other can give the bytes; of queues over several.
  uint32_t avoided_drives = 0;
};

struct ReadDone {
  uint64_t tag = 0;
  // 0, or an errno; ENODATA: the file ended before needed_bytes; ESTALE: it was written to or replaced while in use.
  int error = 0;
  int n_tries = 1;  // after how many it was given up
  // Bit set: drives that gave the bytes, or the one that the error is of; 0 of queues that know no drives.
  uint32_t drives = 0;
};

class ReadQueue {
 public:
  virtual ~ReadQueue() = default;  // waits for reads in flight
  // Takes any number of requests without blocking for the disk; beyond the depth they queue up in order.
  // Short reads are continued; EINTR, EAGAIN, ENOMEM and EIO are retried inside, a bounded number of times and with
  // growing pauses.
  virtual void submit(std::span<const ReadRequest> requests) = 0;
  // Reads that are done and were not handed out before, in order of completion. With `block`, at least one, unless
  // none is pending. The span is valid until the next call.
  virtual std::span<const ReadDone> wait(bool block) = 0;
  virtual int pending() const = 0;       // submitted and not yet handed out
  virtual const char* name() const = 0;  // "io_uring", "pread", and what is special; valid until the next call
  virtual int depth() const = 0;         // most reads in flight at once
  virtual std::string missing_drives() const { return {}; }  // that were given up, each with why
  // Drives that hold the files, and where the file that callers name by `fd` lies on the first of ReadDone::drives;
  // "" where the queue does not know.
  virtual int n_drives() const { return 1; }
  virtual std::string path_on(uint32_t /*drives*/, int /*fd*/) const { return {}; }
};

// Throws Error{unsupported} where the kernel or a sandbox forbids io_uring.
std::unique_ptr<ReadQueue> make_uring_queue(int depth);
// Throws Error{io} where the system refuses a thread. 0: wait(true) reads, one after the other.
std::unique_ptr<ReadQueue> make_pread_queue(int n_threads);

}  // namespace flashmoe
