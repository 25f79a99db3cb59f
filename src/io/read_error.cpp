#include "io/read_error.h"

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

}  // namespace flashmoe
