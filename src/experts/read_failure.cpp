#include "experts/read_failure.h"

#include <cerrno>

#include "base/error.h"
#include "io/read_error.h"

namespace flashmoe {

void fail_read(const ReadFailure& failure) {
  const bool changed = failure.error == ENODATA || failure.error == ESTALE;
  const std::string reason =
      failure.error == EBADMSG ? "its checksum is not the one in manifest.json" : read_error_text(failure.error);
  const std::string tries = failure.n_tries > 1 ? fmt::format(" ({} tries)", failure.n_tries) : "";
  fail(Fault::io, "{}: cannot read expert {} of layer {} ({}; {} bytes at offset {}): {}{}; {}", failure.path,
       failure.expert, failure.layer, failure.matrices, failure.bytes, failure.offset, reason, tries,
       failure.error == EBADMSG ? "the record is damaged: restore the file or pack the model anew"
       : changed                ? "it changed while it was in use: restore it and start again"
                                : "check the disk, or copy the model to another one");
}

}  // namespace flashmoe
