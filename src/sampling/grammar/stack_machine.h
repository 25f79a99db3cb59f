// Follows an automaton byte by byte: one state, which stands for the set of nodes that may have been reached, and one
// stack. States are made when they are first met.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sampling/grammar/automaton.h"

namespace flashmoe {

// The automaton must be finished and outlive the machine. Not for several threads at once.
class StackMachine {
 public:
  struct Position {
    int32_t state = 0;
    int32_t stack = 0;
    bool operator==(const Position&) const = default;
  };

  explicit StackMachine(const Automaton& automaton);
  StackMachine(const StackMachine&) = delete;
  StackMachine& operator=(const StackMachine&) = delete;

  Position start() { return start_; }
  // Where the byte, or the mark, leads; false: nowhere. From every position that is handed out an end can be reached
  // with what the automaton was finished for.
  bool next(Position& position, uint8_t byte);
  bool next_mark(Position& position, int32_t mark);

  bool may_end(Position position) const { return position.stack == 0 && state(position).end; }
  // The sorted nodes, none of which has only empty steps.
  const std::vector<Node>& nodes(Position position) const { return *state(position).nodes; }
  // The same position but for its state, which is that of one node.
  Position at(Position position, Node node);

  // What the machine has learnt, in bytes; about. Where it is too much, begin a new machine and adopt what is needed.
  size_t n_bytes() const { return n_bytes_; }
  Position adopt(const StackMachine& other, Position position);

 private:
  static constexpr int32_t kUnknown = -2, kDead = -1;
  enum class Move : uint8_t { plain, open, close };

  struct State {
    const std::vector<Node>* nodes;
    int tallest;  // of their heights
    bool end;
    std::unique_ptr<std::array<int32_t, 256>> row;  // kUnknown, kDead, or an index and a Move
  };
  using Call = std::pair<int32_t, Node>;  // rule, and the node behind it
  struct Open {
    std::vector<Call> calls;
    int32_t call_set;
    int32_t state;
    int tallest;  // of the calls
  };
  struct Frame {
    int32_t parent, call_set, depth;
  };
  struct HashVector {
    template <typename T>
    size_t operator()(const std::vector<T>& values) const;
  };
  template <typename T>
  struct Interned {
    std::unordered_map<std::vector<T>, int32_t, HashVector> ids;
    std::vector<const std::vector<T>*> values;
    int32_t id(std::vector<T> value, size_t& n_bytes);
  };
  class Closure;

  const State& state(Position position) const { return states_[static_cast<size_t>(position.state)]; }
  int32_t depth(int32_t stack) const { return frames_[static_cast<size_t>(stack)].depth; }
  int32_t intern_state(std::vector<Node> nodes);
  int32_t learn(int32_t from, uint8_t byte);
  int32_t learn_mark(int32_t from, int32_t mark);
  int32_t closure(const std::vector<Node>& from);
  int32_t make_open(std::vector<Call> calls);
  // The part of a state, or of calls, from which an end can be reached with `left` more levels.
  int32_t within(int32_t state, int left);
  int32_t open_within(int32_t open, int left);
  int32_t push(int32_t stack, int32_t call_set);
  int32_t behind(int32_t call_set, int32_t closed);
  bool open(Position& position, int32_t open);
  bool close(Position& position, int32_t closed);
  bool settle(Position& position, int32_t state);

  const Automaton& automaton_;
  std::unordered_map<std::vector<Node>, int32_t, HashVector> state_ids_;
  std::vector<State> states_;
  std::vector<Open> opens_;
  std::vector<Frame> frames_;  // 0: the empty stack
  Interned<Call> call_sets_;
  Interned<int32_t> closed_sets_;
  std::unordered_map<uint64_t, int32_t> marks_, pushes_, behinds_, withins_, opens_within_;
  std::unordered_map<int32_t, int32_t> open_of_call_set_;
  std::vector<uint32_t> seen_;  // [n_nodes] the closure that met the node last
  uint32_t closure_ = 0;
  std::vector<Node> waiting_;
  size_t n_bytes_ = 0;
  Position start_;
};

}  // namespace flashmoe
