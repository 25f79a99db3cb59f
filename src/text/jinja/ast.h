// A parsed template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/value.h"

namespace flashmoe::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr rest;        // *rest, or null
  ExprPtr named_rest;  // **named_rest, or null
};

enum class UnaryOp : uint8_t { not_, minus, plus };
enum class BinaryOp : uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power, and_, or_ };
enum class CompareOp : uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct SequenceLiteral {
  std::vector<ExprPtr> items;
  bool is_tuple;
};
struct DictLiteral {
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};
struct Unary {
  UnaryOp op;
  ExprPtr operand;
};
struct Binary {
  BinaryOp op;
  ExprPtr left, right;
};
struct Concat {
  std::vector<ExprPtr> parts;
};
struct Compare {
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct Conditional {
  ExprPtr condition, then, otherwise;  // otherwise may be null
};
struct Attribute {
  ExprPtr object;
  std::string name;
};
struct Subscript {
  ExprPtr object, index;
};
struct Slice {
  ExprPtr object, start, stop, step;  // all but object may be null
};
struct Call {
  ExprPtr callee;
  CallArguments arguments;
};
struct Filter {
  ExprPtr input;  // null: the body of the block it filters
  std::string name;
  CallArguments arguments;
};
struct Test {
  ExprPtr input;
  std::string name;
  CallArguments arguments;
};

struct Expr {
  using Node = std::variant<Literal, Name, SequenceLiteral, DictLiteral, Unary, Binary, Concat, Compare, Conditional,
                            Attribute, Subscript, Slice, Call, Filter, Test>;
  Node node;
  int line = 0;
  int depth = 0;  // of nodes below
};

struct Statement;
using Block = std::vector<std::unique_ptr<const Statement>>;

// A name, a namespace's attribute or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;
  std::vector<Target> items;
  bool is_tuple = false;
};

struct Parameter {
  std::string name;
  ExprPtr default_value;  // or null
};

struct MacroBody {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

struct Text {
  std::string text;
};
struct Print {
  ExprPtr value;
};
struct If {
  std::vector<std::pair<ExprPtr, Block>> branches;
  Block otherwise;
};
struct For {
  Target target;
  ExprPtr items, condition;  // condition may be null
  Block body, otherwise;
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  ExprPtr filter;  // or null
  Block body;
};
struct Macro {
  MacroBody macro;
};
struct CallBlock {
  ExprPtr call;  // a Call
  MacroBody caller;
};
struct FilterBlock {
  ExprPtr filter;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>> values;
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  std::variant<Text, Print, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock, With, Break, Continue> node;
  int line = 0;
};

}  // namespace flashmoe::jinja
