#include "io/read_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace flashmoe {

std::string read_error_text(int error) {
  switch (error) {
    case ENODATA:
      return "the file ends before";
    case ESTALE:
      return "a file of the model was written to or replaced";  // not always the one that is read
    default:
      return std::strerror(error);
  }
}

std::string read_failure_text(int error, int n_tries) {
  const bool changed = error == ENODATA || error == ESTALE;
  return fmt::format("{}{}; {}", read_error_text(error), n_tries > 1 ? fmt::format(" ({} tries)", n_tries) : "",
                     changed ? "it changed while it was in use: restore it and start again"
                             : "check the disk, or copy the model to another one");
}

}  // namespace flashmoe
