// Python's operators and subscripts on values.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"

namespace flashmoe::jinja {

Value arithmetic(BinaryOp op, const Value& a, const Value& b, Runtime& runtime);  // all but `and` and `or`
Value negate(const Value& value);
bool contains(const Value& container, const Value& item, Runtime& runtime);
bool compare(CompareOp op, const Value& a, const Value& b, Runtime& runtime);

// `object.name` and `object[key]`: undefined when there is none.
Value attribute(const Value& object, std::string_view name, Runtime& runtime);
Value item(const Value& object, const Value& key, Runtime& runtime);
// Null: not given.
Value slice(const Value& object, const Value* start, const Value* stop, const Value* step, Runtime& runtime);

Value call(const Value& callee, const Arguments& arguments, Runtime& runtime);

}  // namespace flashmoe::jinja
