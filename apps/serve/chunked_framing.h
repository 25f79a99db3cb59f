// Follows the framing of a chunked body, and takes out what httplib's reader stumbles over: the trailer fields behind
// the last chunk, which may be ignored (RFC 9112, 7.1.2).
#pragma once

#include <cstddef>

namespace flashmoe {

class ChunkedFraming {
 public:
  // The next bytes of the body, as they came: those that stay are moved to the front. Returns how many they are.
  size_t keep(char* bytes, size_t size);
  // This is no chunked body, or it had ended: two readers might disagree on where.
  bool broken() const { return at_ == At::broken; }

 private:
  // What is expected next; of the trailers, a line or the empty one that ends the body.
  enum class At {
    first_digit,
    size,
    extension,
    size_end,
    data,
    data_return,
    data_end,
    line,
    trailer,
    last,
    done,
    broken
  };
  bool keep(char byte);
  void read_size(char byte);

  At at_ = At::first_digit;
  size_t left_ = 0;  // of the chunk
};

}  // namespace flashmoe
