#include "sampling/grammar.h"

#include "base/error.h"
#include "sampling/grammar/automaton.h"
#include "sampling/grammar/json_schema.h"
#include "sampling/grammar/tool_call_steps.h"

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

std::shared_ptr<const Grammar> Grammar::json_schema(std::shared_ptr<const TokenTrie> tokens, std::string_view schema) {
  const SchemaJson document = parse_schema(schema, "the schema");
  auto automaton = std::make_unique<Automaton>();
  const Node start = automaton->start(automaton->add_rule()), end = automaton->add_node();
  automaton->set_end(end);
  JsonValues values(*automaton);
  JsonSchema compiler(*automaton, values, document, "schema");
  try {
    compiler.add_value(compiler.shapes({&document}), start, end);
    compiler.finish();
  } catch (const TooManyNodes&) {
    fail(Fault::input, "the schema needs more than {} states: make its lengths, patterns or lists shorter",
         Automaton::kMaxNodes);
  }
  return std::shared_ptr<const Grammar>(new Grammar(std::move(tokens), std::move(automaton)));
}

std::shared_ptr<const Grammar> Grammar::tool_call(std::shared_ptr<const TokenTrie> tokens, std::string_view tools_json,
                                                  std::string_view name, bool several, CallForm form) {
  const SchemaJson tools = parse_schema(tools_json, "the list of tools");
  auto automaton = std::make_unique<Automaton>();
  const Node start = automaton->start(automaton->add_rule());
  JsonValues values(*automaton);
  const auto is_mark = [&](std::string_view text) { return tokens->added_token(text).has_value(); };
  ToolCallSteps(*automaton, values, is_mark, form).add(tools, name, several, start);
  return std::shared_ptr<const Grammar>(new Grammar(std::move(tokens), std::move(automaton)));
}

}  // namespace flashmoe
