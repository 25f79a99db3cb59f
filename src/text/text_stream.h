// Tokens in, text out: never half a character, never part of a stop string.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace flashmoe {

class TextStream {
 public:
  // Special tokens are dropped from the text; `stop` may be empty.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop);

  // Takes one token and returns the text that is now final; may be empty. Text that could still become a stop string is
  // held back. The view is valid until the next call.
  std::string_view push(int32_t id);
  // The rest, when no more tokens come: held-back text; an incomplete character becomes U+FFFD.
  std::string_view finish();
  bool stopped() const { return stopped_; }  // a stop string was met; it and what follows are not part of the text

 private:
  std::string_view emit(bool last);
  const Tokenizer& tokenizer_;
  std::vector<std::string> stop_;
  std::string pending_;  // bytes not yet handed out
  std::string out_;
  bool stopped_ = false;
};

}  // namespace flashmoe
