#include "sampling/grammar/stack_machine.h"

#include <algorithm>

#include "base/check.h"

namespace flashmoe {
namespace {

constexpr int32_t kNothing = -1;

uint64_t key(int32_t high, int32_t low) {
  return (uint64_t{static_cast<uint32_t>(high)} << 32) | static_cast<uint32_t>(low);
}

uint64_t mixed(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ (hash >> 32);
}
uint64_t word(int32_t value) { return static_cast<uint32_t>(value); }
uint64_t word(const std::pair<int32_t, Node>& value) { return key(value.first, value.second); }

template <typename T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

template <typename T>
size_t StackMachine::HashVector::operator()(const std::vector<T>& values) const {
  uint64_t hash = values.size();
  for (const T& value : values) hash = mixed(hash, word(value));
  return static_cast<size_t>(hash);
}

template <typename T>
int32_t StackMachine::Interned<T>::id(std::vector<T> value, size_t& n_bytes) {
  const auto [found, is_new] = ids.try_emplace(std::move(value), static_cast<int32_t>(values.size()));
  if (is_new) {
    values.push_back(&found->first);
    n_bytes += 64 + found->first.size() * sizeof(T);
  }
  return found->second;
}

StackMachine::StackMachine(const Automaton& automaton) : automaton_(automaton), seen_(automaton.n_nodes()) {
  frames_.push_back({kNothing, kNothing, 0});
  start_ = {closure({automaton.start(0)}), 0};
  CHECK(start_.state != kNothing);
}

int32_t StackMachine::intern_state(std::vector<Node> nodes) {
  if (nodes.empty()) return kNothing;
  const auto [found, is_new] = state_ids_.try_emplace(std::move(nodes), static_cast<int32_t>(states_.size()));
  if (!is_new) return found->second;
  State state{&found->first, 0, false, nullptr};
  for (const Node node : found->first) {
    state.tallest = std::max(state.tallest, automaton_.height(node));
    state.end = state.end || automaton_.is_end(node);
  }
  states_.push_back(std::move(state));
  n_bytes_ += 128 + found->first.size() * sizeof(Node);
  return found->second;
}

// The nodes that are reached from these without a byte. Those that only pass on are left out.
int32_t StackMachine::closure(const std::vector<Node>& from) {
  ++closure_;
  std::vector<Node> nodes;
  waiting_ = from;
  while (!waiting_.empty()) {
    const Node node = waiting_.back();
    waiting_.pop_back();
    uint32_t& seen = seen_[static_cast<size_t>(node)];
    if (seen == closure_ || automaton_.height(node) == Automaton::kNever) continue;
    seen = closure_;
    bool stays = automaton_.is_end(node);
    for (int32_t s = automaton_.first_step(node); s >= 0; s = automaton_.step(s).next) {
      if (automaton_.step(s).kind == Automaton::Kind::empty) {
        waiting_.push_back(automaton_.step(s).to);
      } else {
        stays = true;
      }
    }
    if (stays) nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end());
  return intern_state(std::move(nodes));
}

int32_t StackMachine::make_open(std::vector<Call> calls) {
  sort_unique(calls);
  const int32_t call_set = call_sets_.id(calls, n_bytes_);
  const auto [found, is_new] = open_of_call_set_.try_emplace(call_set, static_cast<int32_t>(opens_.size()));
  if (!is_new) return found->second;
  std::vector<Node> starts;
  int tallest = 0;
  for (const auto& [rule, to] : calls) {
    const Node start = automaton_.start(rule);
    starts.push_back(start);
    tallest = std::max({tallest, 1 + automaton_.height(start), automaton_.height(to)});
  }
  const int32_t state = closure(starts);
  n_bytes_ += 64 + calls.size() * sizeof(Call);
  opens_.push_back({std::move(calls), call_set, state, tallest});
  return found->second;
}

// What the byte does in this state, as an index and a Move.
int32_t StackMachine::learn(int32_t from, uint8_t byte) {
  std::vector<Node> targets;
  std::vector<Call> calls;
  std::vector<int32_t> closed;
  for (const Node node : *states_[static_cast<size_t>(from)].nodes) {
    for (int32_t s = automaton_.first_step(node); s >= 0; s = automaton_.step(s).next) {
      const Automaton::Step& step = automaton_.step(s);
      if (byte < step.low || byte > step.high) continue;
      if (step.kind == Automaton::Kind::bytes) targets.push_back(step.to);
      if (step.kind == Automaton::Kind::close) closed.push_back(step.rule);
      if (step.kind == Automaton::Kind::call && automaton_.call_height(step) < Automaton::kNever) {
        calls.emplace_back(step.rule, step.to);
      }
    }
  }
  CHECK(int{targets.empty()} + int{calls.empty()} + int{closed.empty()} >= 2);
  const auto move = [](int32_t index, Move kind) { return index * 4 + static_cast<int32_t>(kind); };
  if (!calls.empty()) return move(make_open(std::move(calls)), Move::open);
  if (!closed.empty()) {
    sort_unique(closed);
    return move(closed_sets_.id(std::move(closed), n_bytes_), Move::close);
  }
  if (targets.empty()) return kDead;
  const int32_t state = closure(targets);
  return state == kNothing ? kDead : move(state, Move::plain);
}

bool StackMachine::next(Position& position, uint8_t byte) {
  State& state = states_[static_cast<size_t>(position.state)];
  if (!state.row) {
    state.row = std::make_unique<std::array<int32_t, 256>>();
    state.row->fill(kUnknown);
    n_bytes_ += sizeof(*state.row);
  }
  int32_t& entry = (*state.row)[byte];
  if (entry == kUnknown) entry = learn(position.state, byte);
  if (entry == kDead) return false;
  const int32_t index = entry / 4;
  switch (static_cast<Move>(entry % 4)) {
    case Move::open:
      return open(position, index);
    case Move::close:
      return close(position, index);
    default:
      return settle(position, index);
  }
}

bool StackMachine::settle(Position& position, int32_t state) {
  const int left = Automaton::kMaxDepth - depth(position.stack);
  if (states_[static_cast<size_t>(state)].tallest > left) state = within(state, left);
  if (state == kNothing) return false;
  position.state = state;
  return true;
}

bool StackMachine::open(Position& position, int32_t open) {
  const int left = Automaton::kMaxDepth - depth(position.stack);
  if (opens_[static_cast<size_t>(open)].tallest > left) open = open_within(open, left);
  if (open == kNothing) return false;
  const Open& opened = opens_[static_cast<size_t>(open)];
  position.stack = push(position.stack, opened.call_set);
  return settle(position, opened.state);
}

bool StackMachine::close(Position& position, int32_t closed) {
  if (position.stack == 0) return false;
  const Frame& frame = frames_[static_cast<size_t>(position.stack)];
  const int32_t state = behind(frame.call_set, closed);
  if (state == kNothing) return false;
  position.stack = frame.parent;
  return settle(position, state);
}

bool StackMachine::next_mark(Position& position, int32_t mark) {
  const auto [found, is_new] = marks_.try_emplace(key(position.state, mark), kNothing);
  if (is_new) found->second = learn_mark(position.state, mark);
  return found->second != kNothing && settle(position, found->second);
}

int32_t StackMachine::learn_mark(int32_t from, int32_t mark) {
  std::vector<Node> targets;
  for (const Node node : *states_[static_cast<size_t>(from)].nodes) {
    for (int32_t s = automaton_.first_step(node); s >= 0; s = automaton_.step(s).next) {
      const Automaton::Step& step = automaton_.step(s);
      if (step.kind == Automaton::Kind::mark && step.rule == mark) targets.push_back(step.to);
    }
  }
  return closure(targets);
}

int32_t StackMachine::within(int32_t state, int left) {
  const auto [found, is_new] = withins_.try_emplace(key(state, left), kNothing);
  if (!is_new) return found->second;
  std::vector<Node> nodes = *states_[static_cast<size_t>(state)].nodes;
  std::erase_if(nodes, [&](Node node) { return automaton_.height(node) > left; });
  return found->second = intern_state(std::move(nodes));
}

int32_t StackMachine::open_within(int32_t open, int left) {
  const auto [found, is_new] = opens_within_.try_emplace(key(open, left), kNothing);
  if (!is_new) return found->second;
  std::vector<Call> calls = opens_[static_cast<size_t>(open)].calls;
  std::erase_if(calls, [&](const Call& call) {
    return std::max(1 + automaton_.height(automaton_.start(call.first)), automaton_.height(call.second)) > left;
  });
  return found->second = calls.empty() ? kNothing : make_open(std::move(calls));
}

int32_t StackMachine::push(int32_t stack, int32_t call_set) {
  const auto [found, is_new] = pushes_.try_emplace(key(stack, call_set), static_cast<int32_t>(frames_.size()));
  if (is_new) {
    frames_.push_back({stack, call_set, depth(stack) + 1});
    n_bytes_ += 64;
  }
  return found->second;
}

// The state below the bracket when these rules ended.
int32_t StackMachine::behind(int32_t call_set, int32_t closed) {
  const auto [found, is_new] = behinds_.try_emplace(key(call_set, closed), kNothing);
  if (!is_new) return found->second;
  const auto& rules = *closed_sets_.values[static_cast<size_t>(closed)];
  std::vector<Node> targets;
  for (const auto& [rule, to] : *call_sets_.values[static_cast<size_t>(call_set)]) {
    if (std::binary_search(rules.begin(), rules.end(), rule)) targets.push_back(to);
  }
  return found->second = closure(targets);
}

StackMachine::Position StackMachine::at(Position position, Node node) {
  CHECK(settle(position, closure({node})));
  return position;
}

StackMachine::Position StackMachine::adopt(const StackMachine& other, Position position) {
  std::vector<int32_t> path;  // of the other's stack, innermost first
  for (int32_t stack = position.stack; stack != 0; stack = other.frames_[static_cast<size_t>(stack)].parent) {
    path.push_back(other.frames_[static_cast<size_t>(stack)].call_set);
  }
  Position adopted;
  for (auto call_set = path.rbegin(); call_set != path.rend(); ++call_set) {
    const auto& calls = *other.call_sets_.values[static_cast<size_t>(*call_set)];
    adopted.stack = push(adopted.stack, call_sets_.id(calls, n_bytes_));
  }
  adopted.state = intern_state(other.nodes(position));
  return adopted;
}

}  // namespace flashmoe
