// What an answer must be, enforced while it is sampled.
//
//   auto tokens = std::make_shared<const TokenTrie>(table);           // once for a tokenizer
//   auto grammar = Grammar::json_schema(tokens, schema);              // once for a request
//   GrammarState state(grammar);                                      // once for an answer
//   do {
//     state.mask(logits);
//     const int32_t id = sampler.sample(logits);
//     state.accept(id);
//   } while (!state.finished());                                      // until it was an end token
//
// From every state some token is allowed: an answer is always an end away from being in the language, if only it is
// given the tokens to get there.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sampling/token_trie.h"

namespace flashmoe {

class Automaton;

enum class CallForm {
  xml,   // <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n</tool_call>
  json,  // <tool_call>\n{"name": NAME, "arguments": {...}}\n</tool_call>
};

// Immutable; any number of threads may make states of one grammar. Making one takes milliseconds and is bounded: what
// would need more than Automaton::kMaxNodes states is refused.
class Grammar {
 public:
  // Any JSON object, at most 64 brackets deep.
  static std::shared_ptr<const Grammar> json_object(std::shared_ptr<const TokenTrie> tokens);
  // JSON that `schema` validates. Throws Error{input} for a schema that is malformed or cannot be enforced, naming the
  // place and the keyword; docs/how-to/structured-output.md has all that can.
  static std::shared_ptr<const Grammar> json_schema(std::shared_ptr<const TokenTrie> tokens, std::string_view schema);
  // A call of the tool `name`, or, where that is empty, of any. tools_json: the request's list of definitions.
  // `several`: further calls may follow. Throws Error{input} likewise.
  static std::shared_ptr<const Grammar> tool_call(std::shared_ptr<const TokenTrie> tokens, std::string_view tools_json,
                                                  std::string_view name, bool several, CallForm form = CallForm::xml);
  ~Grammar();

  const TokenTrie& tokens() const { return *tokens_; }

 private:
  friend class GrammarState;
  Grammar(std::shared_ptr<const TokenTrie> tokens, std::unique_ptr<Automaton> automaton);

  std::shared_ptr<const TokenTrie> tokens_;
  std::unique_ptr<const Automaton> automaton_;
  std::vector<int32_t> mark_tokens_;  // [marks] the added token, or -1
};

// One answer's way through a grammar. One thread at a time.
class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<const Grammar> grammar);
  GrammarState(GrammarState&&) noexcept;
  GrammarState& operator=(GrammarState&&) noexcept;
  ~GrammarState();

  // Sets the logits of all tokens that may not come next to -inf; those beyond the vocabulary too. Not when finished.
  void mask(std::span<float> logits);
  // As mask would have it, for one token: far cheaper where a token is drawn first and checked then.
  bool allows(int32_t id);
  // Takes a token that is allowed.
  void accept(int32_t id);

  bool may_end() const;   // the answer so far is in the language; end tokens are allowed
  bool finished() const;  // an end token was accepted

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace flashmoe
