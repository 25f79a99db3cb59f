#include "sampling/grammar.h"

#include "base/check.h"
#include "sampling/grammar/automaton.h"
#include "sampling/grammar/json_values.h"

namespace flashmoe {

Grammar::Grammar(std::shared_ptr<const TokenTrie> tokens, std::unique_ptr<Automaton> automaton)
    : tokens_(std::move(tokens)) {
  std::vector<bool> writable;
  for (const std::string& mark : automaton->marks()) {
    mark_tokens_.push_back(tokens_->added_token(mark).value_or(-1));
    writable.push_back(mark_tokens_.back() >= 0);
  }
  automaton->finish(tokens_->single_bytes(), writable);
  automaton_ = std::move(automaton);
}

Grammar::~Grammar() = default;

std::shared_ptr<const Grammar> Grammar::json_object(std::shared_ptr<const TokenTrie> tokens) {
  auto automaton = std::make_unique<Automaton>();
  const Node start = automaton->start(automaton->add_rule()), end = automaton->add_node();
  automaton->set_end(end);
  automaton->add_call(start, '{', JsonValues(*automaton).any_object(), end);
  return std::shared_ptr<const Grammar>(new Grammar(std::move(tokens), std::move(automaton)));
}

}  // namespace flashmoe
