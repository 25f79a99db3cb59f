#include "experts/read_failure.h"

#include <cerrno>

#include "base/error.h"
#include "io/read_error.h"

namespace flashmoe {

void fail_read(const ReadFailure& failure) {
  const std::string why =
      failure.error == EBADMSG
          ? fmt::format(
                "its checksum is not the one in manifest.json ({} tries); the record is damaged: restore the "
                "file or pack the model anew",
                failure.n_tries)
          : read_failure_text(failure.error, failure.n_tries);
  fail(Fault::io, "{}: cannot read expert {} of layer {} ({}; {} bytes at offset {}): {}", failure.path, failure.expert,
       failure.layer, failure.matrices, failure.bytes, failure.offset, why);
}

}  // namespace flashmoe
