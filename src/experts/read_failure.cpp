#include "experts/read_failure.h"

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace flashmoe {

void fail_read(const ReadFailure& failure) {
  const bool changed = failure.error == ENODATA || failure.error == ESTALE;
  const std::string reason = failure.error == ENODATA  ? "the file ends before"
                             : failure.error == ESTALE ? "the file was written to or replaced"
                                                       : std::strerror(failure.error);
  const std::string tries = failure.n_tries > 1 ? fmt::format(" ({} tries)", failure.n_tries) : "";
  fail(Fault::io, "{}: cannot read expert {} of layer {} ({}; {} bytes at offset {}): {}{}; {}", failure.path,
       failure.expert, failure.layer, failure.matrices, failure.bytes, failure.offset, reason, tries,
       changed ? "it changed while it was in use, restore it" : "check the disk, or copy the model to another one");
}

}  // namespace flashmoe
