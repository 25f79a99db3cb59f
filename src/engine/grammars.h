// Constraints of requests as grammars over one tokenizer.
#pragma once

#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>

#include "flashmoe/service.h"
#include "sampling/grammar.h"
#include "text/tokenizer.h"

namespace flashmoe {

class Grammars {
 public:
  // `form`: how the model writes calls.
  Grammars(const Tokenizer& tokenizer, CallForm form) : tokenizer_(tokenizer), form_(form) {}

  // Null where the answer may be anything. Throws Error{input} for a schema that cannot be enforced, and for a call
  // where there are no tools. Any thread.
  std::shared_ptr<const Grammar> of(const Request& request, const nlohmann::ordered_json& tools);

 private:
  std::shared_ptr<const TokenTrie> trie();

  const Tokenizer& tokenizer_;
  const CallForm form_;
  std::once_flag made_;
  std::shared_ptr<const TokenTrie> trie_;
};

}  // namespace flashmoe
