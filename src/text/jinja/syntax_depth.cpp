#include "text/jinja/syntax_depth.h"

#include <algorithm>

namespace flashmoe::jinja {

namespace {

int depth_of(const ExprPtr& e) { return e ? e->depth : 0; }
int depth_of(const std::vector<ExprPtr>& list) {
  int depth = 0;
  for (const ExprPtr& e : list) depth = std::max(depth, depth_of(e));
  return depth;
}
int depth_of(const CallArguments& a) {
  int depth = std::max({depth_of(a.positional), depth_of(a.rest), depth_of(a.named_rest)});
  for (const auto& [name, value] : a.named) depth = std::max(depth, depth_of(value));
  return depth;
}

struct DepthBelow {
  int operator()(const Literal&) const { return 0; }
  int operator()(const Name&) const { return 0; }
  int operator()(const SequenceLiteral& n) const { return depth_of(n.items); }
  int operator()(const DictLiteral& n) const {
    int depth = 0;
    for (const auto& [key, value] : n.entries) depth = std::max({depth, depth_of(key), depth_of(value)});
    return depth;
  }
  int operator()(const Unary& n) const { return depth_of(n.operand); }
  int operator()(const Binary& n) const { return std::max(depth_of(n.left), depth_of(n.right)); }
  int operator()(const Concat& n) const { return depth_of(n.parts); }
  int operator()(const Compare& n) const {
    int depth = depth_of(n.first);
    for (const auto& [op, value] : n.rest) depth = std::max(depth, depth_of(value));
    return depth;
  }
  int operator()(const Conditional& n) const {
    return std::max({depth_of(n.condition), depth_of(n.then), depth_of(n.otherwise)});
  }
  int operator()(const Attribute& n) const { return depth_of(n.object); }
  int operator()(const Subscript& n) const { return std::max(depth_of(n.object), depth_of(n.index)); }
  int operator()(const Slice& n) const {
    return std::max({depth_of(n.object), depth_of(n.start), depth_of(n.stop), depth_of(n.step)});
  }
  int operator()(const Call& n) const { return std::max(depth_of(n.callee), depth_of(n.arguments)); }
  int operator()(const Filter& n) const { return std::max(depth_of(n.input), depth_of(n.arguments)); }
  int operator()(const Test& n) const { return std::max(depth_of(n.input), depth_of(n.arguments)); }
};

}  // namespace

int depth_below(const Expr::Node& node) { return std::visit(DepthBelow{}, node); }

}  // namespace flashmoe::jinja
