// A JSON schema as steps of an automaton.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/char_dfa.h"
#include "sampling/grammar/json_values.h"
#include "sampling/grammar/schema_shape.h"

namespace flashmoe {

// Parses a schema, or another document with schemas in it. Throws Error{input} when it is no JSON, longer than 1 MiB or
// nested more than 128 deep; `what` names it.
SchemaJson parse_schema(std::string_view text, std::string_view what);

// Adds a document's schemas to an automaton. Every text that the steps allow is JSON which the schema validates, but
// not all such texts are allowed: docs/how-to/structured-output.md. Functions throw Error{input} for what cannot be
// enforced, with the place in the document, and TooManyNodes.
class JsonSchema {
 public:
  // The document is borrowed; $ref leads into it. `name` is how messages call it.
  JsonSchema(Automaton& automaton, JsonValues& values, const SchemaJson& document, std::string name);

  // The alternatives of a value that meets all of these schemas, none of them with others in it that must hold too.
  std::vector<Shape> shapes(const Schemas& schemas);
  // A value of one of these shapes. Rules it calls are added by finish().
  void add_value(const std::vector<Shape>& shapes, Node from, Node to);
  // Texts that meet the shape's patterns and lengths.
  CharDfa texts(const Shape& shape);
  // The texts among the shape's choices that meet the rest of it.
  std::vector<const SchemaJson*> fitting_choices(const Shape& shape);
  void finish();

  const std::string& name() const { return name_; }
  // The name, and where in the document a schema stands, for messages.
  std::string place(const SchemaJson& schema) const;

 private:
  struct PendingRule {
    int32_t rule;
    Shape shape;
    bool is_object;
  };

  std::vector<Shape> shapes_of(const SchemaJson& schema, int depth);
  std::vector<Shape> shapes_of_object(const SchemaJson& schema, int depth);
  std::vector<Shape> one_of(const SchemaJson& schema, const SchemaJson& alternatives, int depth);
  std::vector<Shape> both(std::vector<Shape> a, const std::vector<Shape>& b, const SchemaJson& schema);
  void limit_alternatives(size_t n, const SchemaJson& schema) const;
  const SchemaJson& resolve(const SchemaJson& schema, const SchemaJson& ref) const;
  void work(size_t n);

  void add_shape(const Shape& shape, Node from, Node to);
  void add_choices(const Shape& shape, Node from, Node to);
  void add_text(const Shape& shape, Node from, Node to);
  int32_t rule(const Shape& shape, bool is_object);
  void add_object(int32_t rule, Shape shape);
  void add_further_members(const Shape& shape, Node from, Node behind);
  void add_array(int32_t rule, const Shape& shape);
  Shape shape_of_value(const SchemaJson& value);
  Node colon_and_value(const Schemas& schemas, Node behind);

  Automaton& a_;
  JsonValues& values_;
  const SchemaJson& document_;
  std::string name_;
  std::vector<const SchemaJson*> referring_;               // schemas whose $ref is being followed
  std::map<std::pair<bool, std::string>, int32_t> rules_;  // is it for objects, the shape's key
  std::deque<PendingRule> pending_;
  std::deque<SchemaJson> constants_;  // {"const": ...} for what is inside a constant
  std::map<std::string, CharDfa> patterns_;
  size_t work_left_, pattern_work_left_;
};

}  // namespace flashmoe
