// Calls of tools, as models of this family write them, as steps of an automaton.
#pragma once

#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "sampling/grammar.h"
#include "sampling/grammar/json_schema.h"

namespace flashmoe {

// CallForm::xml has each parameter at most once and in the order of the tool's schema, the required ones always. A
// value that may be a string is free text; others are JSON. CallForm::json has arguments as JsonSchema writes them.
class ToolCallSteps {
 public:
  // is_mark: some token is this mark; otherwise it is spelled.
  ToolCallSteps(Automaton& automaton, JsonValues& values, FunctionRef<bool(std::string_view)> is_mark, CallForm form);

  // tools: a request's definitions. `name`: the only one that may be called; empty: any. `several`: further calls may
  // follow on lines of their own. The steps lead to nodes that end the automaton. Throws like JsonSchema.
  void add(const SchemaJson& tools, std::string_view name, bool several, Node from);

 private:
  void add_tool(const SchemaJson& function, const std::string& name, Node from, Node to);
  void add_arguments(const SchemaJson& function, Node from, Node to);
  void add_shape(JsonSchema& schema, Shape shape, Node from, Node to);
  void add_parameters(JsonSchema& schema, const Shape& shape, Node from, Node to);
  void add_value(JsonSchema& schema, const std::vector<Shape>& shapes, Node from, Node to);
  void add_choices(JsonSchema& schema, const Shape& shape, bool is_text, Node from, Node to);
  void mark(Node from, std::string_view text, Node to);

  Automaton& a_;
  JsonValues& values_;
  FunctionRef<bool(std::string_view)> is_mark_;
  const CallForm form_;
};

}  // namespace flashmoe
