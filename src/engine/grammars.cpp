#include "engine/grammars.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {

std::shared_ptr<const TokenTrie> Grammars::trie() {
  std::call_once(made_, [&] {
    const auto n = static_cast<size_t>(tokenizer_.size());
    std::vector<std::string_view> bytes(n);
    std::vector<uint8_t> added(n);
    std::vector<int32_t> ends;
    for (size_t i = 0; i < n; ++i) {
      bytes[i] = tokenizer_.bytes(static_cast<int32_t>(i));
      if (tokenizer_.ends_turn(static_cast<int32_t>(i))) ends.push_back(static_cast<int32_t>(i));
    }
    for (const std::string& text : tokenizer_.added_tokens()) {
      if (const auto id = tokenizer_.id_of(text)) added[static_cast<size_t>(*id)] = 1;
    }
    trie_ = std::make_shared<const TokenTrie>(TokenTable{bytes, added, ends});
  });
  return trie_;
}

std::shared_ptr<const Grammar> Grammars::of(const Request& request, const nlohmann::ordered_json& tools) {
  const Constraint& constraint = request.constraint;
  switch (constraint.kind) {
    case Constraint::Kind::none:
      return nullptr;
    case Constraint::Kind::json_object:
      return Grammar::json_object(trie());
    case Constraint::Kind::json_schema:
      return Grammar::json_schema(trie(), constraint.schema);
    case Constraint::Kind::tool_call:
      if (!tools.is_array() || tools.empty()) fail(Fault::input, "a tool call is demanded, but there are no tools");
      return Grammar::tool_call(trie(), tools.dump(), constraint.tool, request.parallel_tool_calls, form_);
  }
  CHECK(false);
}

}  // namespace flashmoe
