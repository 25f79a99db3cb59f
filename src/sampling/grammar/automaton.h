// A language of bytes, as nodes and steps between them; brackets nest through rules, all else is flat.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

using Node = int32_t;

// More than Automaton::kMaxNodes, or four times as many steps. Whoever knows what the nodes are for makes an Error of
// it.
struct TooManyNodes {};

// Which rule a node belongs to follows from where it was begun: a step leads to a node of the same rule. A bracket's
// byte opens a rule (call) or ends it (close). Whether a byte opens, closes or does neither may not depend on which
// alternative is being followed: then all alternatives have the same depth, and one stack serves them.
class Automaton {
 public:
  enum class Kind : uint8_t { bytes, empty, mark, call, close };
  struct Step {
    Kind kind;
    uint8_t low, high;  // bytes: the range; call, close: both are the bracket
    int32_t rule;       // call, close: the rule; mark: which
    Node to;            // behind the step; call: behind the rule's end
    int32_t next;       // the node's next step, or -1
  };
  // The inside of a JSON string, between two characters: how many more it must and may have.
  struct Text {
    int32_t least, most;
    Node after;  // behind the closing quote
  };

  static constexpr int kMaxDepth = 64;          // brackets inside each other
  static constexpr int kNever = kMaxDepth + 1;  // a height: no end can be reached
  static constexpr size_t kMaxNodes = 400'000;  // 24 MB with their steps
  static constexpr int32_t kUnlimited = std::numeric_limits<int32_t>::max();

  // The first rule, number 0, is the whole text; it ends at an end node. All that add throw TooManyNodes.
  int32_t add_rule();
  Node add_node();
  void add_bytes(Node from, uint8_t low, uint8_t high, Node to);
  void add_empty(Node from, Node to);
  void add_mark(Node from, std::string_view text, Node to);  // one added token, whatever it is spelled like
  void add_call(Node from, char open, int32_t rule, Node to);
  void add_close(Node from, char close, int32_t rule);
  void set_text(Node node, const Text& text);
  void set_end(Node node) { nodes_[static_cast<size_t>(node)].end = true; }

  // To be called once, when all is added. writable[byte]: some token is this byte alone; marks_writable[mark]: some
  // added token is it. A node from which no end can be written with these is as if it were not there.
  void finish(const std::bitset<256>& writable, const std::vector<bool>& marks_writable);

  Node start(int32_t rule) const { return rules_[static_cast<size_t>(rule)]; }
  size_t n_nodes() const { return nodes_.size(); }
  bool is_end(Node node) const { return nodes_[static_cast<size_t>(node)].end; }
  const Text* text(Node node) const {
    const int32_t text = nodes_[static_cast<size_t>(node)].text;
    return text < 0 ? nullptr : &texts_[static_cast<size_t>(text)];
  }
  // Brackets that must at least be opened inside each other to get from here to the rule's end; kNever.
  int height(Node node) const { return heights_[static_cast<size_t>(node)]; }
  int call_height(const Step& step) const { return std::max(1 + height(start(step.rule)), height(step.to)); }
  int32_t first_step(Node node) const { return nodes_[static_cast<size_t>(node)].first; }
  const Step& step(int32_t index) const { return steps_[static_cast<size_t>(index)]; }
  const std::vector<std::string>& marks() const { return marks_; }

 private:
  struct NodeData {
    int32_t first = -1, text = -1;
    bool end = false;
  };
  class Heights;
  void add(Node from, const Step& step);

  std::vector<NodeData> nodes_;
  std::vector<Step> steps_;
  std::vector<Text> texts_;
  std::vector<Node> rules_;
  std::vector<std::string> marks_;
  std::vector<uint8_t> heights_;
};

}  // namespace flashmoe
