#include "sampling/grammar/automaton.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {

int32_t Automaton::add_rule() {
  rules_.push_back(add_node());
  return static_cast<int32_t>(rules_.size()) - 1;
}

Node Automaton::add_node() {
  if (nodes_.size() >= kMaxNodes) throw TooManyNodes();
  nodes_.emplace_back();
  return static_cast<Node>(nodes_.size()) - 1;
}

void Automaton::add(Node from, const Step& step) {
  if (steps_.size() >= 4 * kMaxNodes) throw TooManyNodes();
  NodeData& node = nodes_[static_cast<size_t>(from)];
  steps_.push_back(step);
  steps_.back().next = node.first;
  node.first = static_cast<int32_t>(steps_.size()) - 1;
}

void Automaton::add_bytes(Node from, uint8_t low, uint8_t high, Node to) {
  add(from, {Kind::bytes, low, high, 0, to, -1});
}

void Automaton::add_empty(Node from, Node to) { add(from, {Kind::empty, 0, 0, 0, to, -1}); }

void Automaton::add_mark(Node from, std::string_view text, Node to) {
  auto found = std::find(marks_.begin(), marks_.end(), text);
  if (found == marks_.end()) found = marks_.insert(found, std::string(text));
  add(from, {Kind::mark, 0, 0, static_cast<int32_t>(found - marks_.begin()), to, -1});
}

void Automaton::add_call(Node from, char open, int32_t rule, Node to) {
  const auto byte = static_cast<uint8_t>(open);
  add(from, {Kind::call, byte, byte, rule, to, -1});
}

void Automaton::add_close(Node from, char close, int32_t rule) {
  const auto byte = static_cast<uint8_t>(close);
  add(from, {Kind::close, byte, byte, rule, from, -1});
}

void Automaton::set_text(Node node, const Text& text) {
  nodes_[static_cast<size_t>(node)].text = static_cast<int32_t>(texts_.size());
  texts_.push_back(text);
}

// Goes from the ends backwards, lowest heights first.
class Automaton::Heights {
 public:
  Heights(Automaton& automaton, const std::bitset<256>& writable, const std::vector<bool>& marks_writable)
      : a_(automaton), writable_(writable), marks_writable_(marks_writable), waiting_(kNever + 1) {
    index_arrivals();
  }

  void run() {
    for (Node node = 0; node < static_cast<Node>(a_.nodes_.size()); ++node) {
      if (a_.is_end(node)) waiting_[0].push_back(node);
      for (int32_t s = a_.first_step(node); s >= 0; s = a_.step(s).next) {
        if (a_.step(s).kind == Kind::close && can_write(a_.step(s))) waiting_[0].push_back(node);
      }
    }
    for (int height = 0; height < kNever; ++height) {
      auto& waiting = waiting_[static_cast<size_t>(height)];
      while (!waiting.empty()) {
        const Node node = waiting.back();
        waiting.pop_back();
        if (a_.height(node) != kNever) continue;
        a_.heights_[static_cast<size_t>(node)] = static_cast<uint8_t>(height);
        for (size_t i = first_[static_cast<size_t>(node)]; i < first_[static_cast<size_t>(node) + 1]; ++i) {
          reach(arrivals_[i], height);
        }
      }
    }
  }

 private:
  struct Arrival {
    Node from;
    int32_t step;
  };

  bool can_write(const Step& step) const {
    if (step.kind == Kind::empty) return true;
    if (step.kind == Kind::mark) return marks_writable_[static_cast<size_t>(step.rule)];
    for (int byte = step.low; byte <= step.high; ++byte) {
      if (writable_[static_cast<size_t>(byte)]) return true;
    }
    return false;
  }

  // arrivals_[first_[n] .. first_[n + 1]): the steps that lead to node n, or call the rule it begins.
  void index_arrivals() {
    first_.assign(a_.nodes_.size() + 1, 0);
    each_arrival([&](Node to, const Arrival&) { ++first_[static_cast<size_t>(to) + 1]; });
    for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
    arrivals_.resize(first_.back());
    std::vector<uint32_t> at(first_.begin(), first_.end() - 1);
    each_arrival([&](Node to, const Arrival& arrival) { arrivals_[at[static_cast<size_t>(to)]++] = arrival; });
  }

  template <typename F>
  void each_arrival(F f) const {
    for (Node from = 0; from < static_cast<Node>(a_.nodes_.size()); ++from) {
      for (int32_t s = a_.first_step(from); s >= 0; s = a_.step(s).next) {
        const Step& step = a_.step(s);
        if (step.kind == Kind::close || !can_write(step)) continue;
        f(step.to, Arrival{from, s});
        if (step.kind == Kind::call) f(a_.start(step.rule), Arrival{from, s});
      }
    }
  }

  void reach(const Arrival& arrival, int height) {
    const Step& step = a_.step(arrival.step);
    if (step.kind == Kind::call) {
      if (a_.height(step.to) == kNever || a_.height(a_.start(step.rule)) == kNever) return;
      height = a_.call_height(step);
    }
    if (height < kNever) waiting_[static_cast<size_t>(height)].push_back(arrival.from);
  }

  Automaton& a_;
  const std::bitset<256>& writable_;
  const std::vector<bool>& marks_writable_;
  std::vector<std::vector<Node>> waiting_;  // [kNever + 1] nodes to be given this height
  std::vector<uint32_t> first_;
  std::vector<Arrival> arrivals_;
};

void Automaton::finish(const std::bitset<256>& writable, const std::vector<bool>& marks_writable) {
  CHECK(heights_.empty() && marks_writable.size() == marks_.size());
  heights_.assign(nodes_.size(), static_cast<uint8_t>(kNever));
  Heights(*this, writable, marks_writable).run();
  if (height(start(0)) == kNever) {
    fail(Fault::input, "no answer can meet the schema within {} levels of nesting", kMaxDepth);
  }
}

}  // namespace flashmoe
