#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/check.h"
#include "sampling/grammar.h"
#include "sampling/grammar/automaton.h"
#include "sampling/grammar/stack_machine.h"

namespace flashmoe {
namespace {

using Position = StackMachine::Position;

constexpr size_t kMachineBytes = size_t{32} << 20;  // what is learnt is dropped beyond this
constexpr size_t kCachedMasks = 64;                 // 31 KB each with 248,320 tokens
constexpr size_t kDearVisits = 10'000;              // nodes of the trie: some 50 us, as long as applying a mask takes

}  // namespace

class GrammarState::Impl {
 public:
  explicit Impl(std::shared_ptr<const Grammar> grammar)
      : grammar_(std::move(grammar)),
        tokens_(grammar_->tokens()),
        machine_(std::make_unique<StackMachine>(*grammar_->automaton_)),
        position_(machine_->start()),
        closed_(position_),
        bits_((static_cast<size_t>(tokens_.size()) + 63) / 64),
        path_(static_cast<size_t>(tokens_.max_depth()) + 1) {}

  void mask(std::span<float> logits) {
    CHECK(!finished_);
    collect();
    apply(logits);
  }

  bool allows(int32_t id) {
    if (finished_ || id < 0 || id >= tokens_.size()) return false;
    Position position = position_;
    return tokens_.is_end(id) ? may_end() : follow(position, id);
  }

  void accept(int32_t id) {
    CHECK(allows(id));
    if (tokens_.is_end(id)) {
      finished_ = true;
    } else {
      CHECK(follow(position_, id));
    }
  }

  bool may_end() const { return machine_->may_end(position_); }
  bool finished() const { return finished_; }

 private:
  bool follow(Position& position, int32_t id) {
    if (tokens_.is_added(id)) {
      const auto& marks = grammar_->mark_tokens_;
      const auto mark = std::find(marks.begin(), marks.end(), id);
      return mark != marks.end() && machine_->next_mark(position, static_cast<int32_t>(mark - marks.begin()));
    }
    const std::string_view bytes = tokens_.bytes(id);
    for (const char byte : bytes) {
      if (!machine_->next(position, static_cast<uint8_t>(byte))) return false;
    }
    return !bytes.empty();
  }

  // Sets bits_ for the position.
  void collect() {
    forget_if_large(0, 0);
    const uint64_t key =
        (uint64_t{static_cast<uint32_t>(position_.state)} << 32) | static_cast<uint32_t>(position_.stack);
    if (const auto found = cache_.find(key); found != cache_.end()) {
      bits_ = found->second;
      return;
    }
    std::fill(bits_.begin(), bits_.end(), 0);
    n_visits_ = 0;
    const uint64_t n_forgotten = n_forgotten_;
    if (!collect_inside_text()) {
      path_[0] = position_;
      walk(0, static_cast<int32_t>(tokens_.nodes().size()));
    }
    collect_marks();
    if (may_end()) {
      for (const int32_t end : tokens_.ends()) allow(end);
    }
    if (n_visits_ < kDearVisits || n_forgotten_ != n_forgotten) return;
    if (cache_.size() >= kCachedMasks) cache_.clear();
    cache_.emplace(key, bits_);
  }

  // Between two characters of a string, what may come is known from the vocabulary but for what closes the string.
  bool collect_inside_text() {
    const std::vector<Node>& nodes = machine_->nodes(position_);
    const Automaton::Text* text = grammar_->automaton_->text(nodes[0]);
    const auto insides = tokens_.insides();
    if (nodes.size() != 1 || text == nullptr || insides.empty()) return false;
    if (text->most >= insides.back().n_characters) {
      std::copy(tokens_.inside_bits().begin(), tokens_.inside_bits().end(), bits_.begin());
    } else {
      for (const TokenTrie::Inside& inside : insides) {
        if (inside.n_characters > text->most) break;
        allow(inside.token);
      }
    }
    closed_ = machine_->at(position_, text->after);
    for (const TokenTrie::Quote& quote : tokens_.quotes()) {
      if (quote.n_characters < text->least || quote.n_characters > text->most) continue;
      const TokenTrie::Node& node = tokens_.nodes()[static_cast<size_t>(quote.node)];
      allow_all(node.token);
      path_[node.depth + size_t{1}] = closed_;
      walk(quote.node + 1, node.end);
    }
    return true;
  }

  // Allows the tokens of nodes [begin, end), which continue the one whose position is in path_.
  void walk(int32_t begin, int32_t end) {
    const auto nodes = tokens_.nodes();
    const size_t first = begin < end ? nodes[static_cast<size_t>(begin)].depth : 0;
    for (int32_t i = begin; i < end;) {
      const TokenTrie::Node& node = nodes[static_cast<size_t>(i)];
      ++n_visits_;
      Position position = path_[node.depth];
      if (!machine_->next(position, node.byte)) {
        i = node.end;
        continue;
      }
      path_[node.depth + size_t{1}] = position;
      allow_all(node.token);
      ++i;
      forget_if_large(first, node.depth + size_t{2});
    }
  }

  void collect_marks() {
    const auto& marks = grammar_->mark_tokens_;
    for (size_t mark = 0; mark < marks.size(); ++mark) {
      Position position = position_;
      if (marks[mark] >= 0 && machine_->next_mark(position, static_cast<int32_t>(mark))) allow(marks[mark]);
    }
  }

  void allow(int32_t token) { bits_[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64); }
  void allow_all(int32_t token) {
    for (; token >= 0; token = tokens_.next_same(token)) allow(token);
  }

  void apply(std::span<float> logits) const {
    constexpr float kRefused = -std::numeric_limits<float>::infinity();
    const size_t n = std::min(logits.size(), static_cast<size_t>(tokens_.size()));
    for (size_t first = 0; first < n; first += 64) {
      const uint64_t word = bits_[first / 64];
      const size_t count = std::min<size_t>(64, n - first);
      float* const block = logits.data() + first;
      if (word == 0) {
        std::fill(block, block + count, kRefused);
      } else if (word != ~uint64_t{0}) {
        for (size_t i = 0; i < count; ++i) block[i] = (word >> i) & 1 ? block[i] : kRefused;
      }
    }
    std::fill(logits.begin() + static_cast<std::ptrdiff_t>(n), logits.end(), kRefused);
  }

  // Begins a new machine where the old one has learnt too much; the position and path_[first .. end) stay.
  void forget_if_large(size_t first, size_t end) {
    if (machine_->n_bytes() < kMachineBytes) return;
    auto fresh = std::make_unique<StackMachine>(*grammar_->automaton_);
    position_ = fresh->adopt(*machine_, position_);
    closed_ = fresh->adopt(*machine_, closed_);
    for (size_t i = first; i < end; ++i) path_[i] = fresh->adopt(*machine_, path_[i]);
    machine_ = std::move(fresh);
    cache_.clear();
    ++n_forgotten_;
  }

  std::shared_ptr<const Grammar> grammar_;
  const TokenTrie& tokens_;
  std::unique_ptr<StackMachine> machine_;
  Position position_;
  Position closed_;  // behind the string that the position is in
  bool finished_ = false;
  std::vector<uint64_t> bits_;                                 // [n_tokens / 64] may come next
  std::vector<Position> path_;                                 // [max_depth + 1] along the trie
  size_t n_visits_ = 0;                                        // of nodes of the trie, for this mask
  uint64_t n_forgotten_ = 0;                                   // machines
  std::unordered_map<uint64_t, std::vector<uint64_t>> cache_;  // state and stack -> bits_
};

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar)
    : impl_(std::make_unique<Impl>(std::move(grammar))) {}
GrammarState::GrammarState(GrammarState&&) noexcept = default;
GrammarState& GrammarState::operator=(GrammarState&&) noexcept = default;
GrammarState::~GrammarState() = default;

void GrammarState::mask(std::span<float> logits) { impl_->mask(logits); }
bool GrammarState::allows(int32_t id) { return impl_->allows(id); }
void GrammarState::accept(int32_t id) { impl_->accept(id); }
bool GrammarState::may_end() const { return impl_->may_end(); }
bool GrammarState::finished() const { return impl_->finished(); }

}  // namespace flashmoe
