#include "sampling/grammar/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "sampling/grammar/pattern_tree.h"

namespace flashmoe {
namespace {

using Kind = PatternTree::Kind;

constexpr size_t kMaxNodes = 20'000;

struct PatternNode {
  enum class Pass { always, at_start, at_end };
  struct Empty {
    Pass pass;
    int32_t to;
  };
  std::vector<Empty> empties;
  const CharSet* set = nullptr;  // reads one of these
  int32_t to = -1;
};

using Pass = PatternNode::Pass;

const CharSet kAny = {{0, CharDfa::kLast}};

// The pattern as nodes: from node 0 any text, the pattern, any text.
class PatternNodes {
 public:
  explicit PatternNodes(const PatternTree& tree) {
    const int32_t start = add(), first = add(), last = add();
    read(start, kAny, start);
    empty(start, first);
    build(tree, first, last);
    read(last, kAny, last);
    last_ = last;
  }

  const PatternNode& operator[](int32_t node) const { return nodes_[static_cast<size_t>(node)]; }
  size_t size() const { return nodes_.size(); }
  int32_t last() const { return last_; }

 private:
  int32_t add() {
    if (nodes_.size() >= kMaxNodes) throw PatternRefused{"it is too large once its repetitions are written out"};
    nodes_.emplace_back();
    return static_cast<int32_t>(nodes_.size()) - 1;
  }
  void empty(int32_t from, int32_t to, Pass pass = Pass::always) {
    nodes_[static_cast<size_t>(from)].empties.push_back({pass, to});
  }
  void read(int32_t from, const CharSet& set, int32_t to) {
    nodes_[static_cast<size_t>(from)].set = &set;
    nodes_[static_cast<size_t>(from)].to = to;
  }

  void build(const PatternTree& tree, int32_t from, int32_t to) {
    switch (tree.kind) {
      case Kind::set: {
        const int32_t reader = add();
        empty(from, reader);
        read(reader, tree.set, to);
        return;
      }
      case Kind::at_start:
        return empty(from, to, Pass::at_start);
      case Kind::at_end:
        return empty(from, to, Pass::at_end);
      case Kind::choice:
        for (const PatternTree& part : tree.parts) build(part, from, to);
        return;
      case Kind::repeat:
        return repeat(tree, from, to);
      case Kind::sequence:
        for (const PatternTree& part : tree.parts) {
          const int32_t next = add();
          build(part, from, next);
          from = next;
        }
        return empty(from, to);
    }
  }

  void repeat(const PatternTree& tree, int32_t from, int32_t to) {
    for (int i = 0; i < tree.least; ++i) from = copy(tree.parts[0], from);
    if (tree.most == PatternTree::kUnlimited) {
      const int32_t loop = add();
      empty(from, loop);
      build(tree.parts[0], loop, loop);
      empty(loop, to);
      return;
    }
    for (int i = tree.least; i < tree.most; ++i) {
      empty(from, to);
      from = copy(tree.parts[0], from);
    }
    empty(from, to);
  }
  int32_t copy(const PatternTree& tree, int32_t from) {
    const int32_t first = add(), next = add();
    empty(from, first);
    build(tree, first, next);
    return next;
  }

  std::vector<PatternNode> nodes_;
  int32_t last_ = 0;
};

class Determiniser {
 public:
  Determiniser(const PatternNodes& nodes, size_t& work) : nodes_(nodes), work_(work) {
    std::set<char32_t> borders;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const CharSet* set = nodes[static_cast<int32_t>(i)].set;
      if (set == nullptr) continue;
      for (const auto& [low, high] : *set) {
        borders.insert(low);
        borders.insert(high + 1);
      }
    }
    borders_.assign(borders.begin(), borders.end());
  }

  CharDfa run() {
    sets_.push_back(closure({0}, true, false));  // may equal a later one, but only here does ^ hold
    for (size_t i = 0; i < sets_.size(); ++i) {
      const std::vector<int32_t> set = sets_[i];
      dfa_.states.emplace_back();
      const auto at_end = closure(set, i == 0, true);
      dfa_.states[i].accepts = std::binary_search(at_end.begin(), at_end.end(), nodes_.last());
      add_edges(i, set);
    }
    return std::move(dfa_);
  }

 private:
  std::vector<int32_t> closure(const std::vector<int32_t>& from, bool at_start, bool at_end) {
    std::vector<int32_t> out, waiting = from;
    std::vector<bool> seen(nodes_.size());
    while (!waiting.empty()) {
      const int32_t node = waiting.back();
      waiting.pop_back();
      if (seen[static_cast<size_t>(node)]) continue;
      seen[static_cast<size_t>(node)] = true;
      out.push_back(node);
      work(1 + nodes_[node].empties.size());
      for (const auto& [pass, to] : nodes_[node].empties) {
        if (pass == Pass::always || (pass == Pass::at_start && at_start) || (pass == Pass::at_end && at_end)) {
          waiting.push_back(to);
        }
      }
    }
    work(nodes_.size() / 64);
    std::sort(out.begin(), out.end());
    return out;
  }

  void add_edges(size_t state, const std::vector<int32_t>& set) {
    std::vector<std::vector<int32_t>> targets(borders_.size());  // for characters from border i to before i + 1
    for (const int32_t node : set) {
      if (nodes_[node].set == nullptr) continue;
      for (const auto& [low, high] : *nodes_[node].set) {
        auto border = std::lower_bound(borders_.begin(), borders_.end(), low);
        for (; border != borders_.end() && *border <= high; ++border) {
          targets[static_cast<size_t>(border - borders_.begin())].push_back(nodes_[node].to);
          work(1);
        }
      }
    }
    auto& edges = dfa_.states[state].edges;
    std::map<std::vector<int32_t>, int32_t> known;
    for (size_t i = 0; i + 1 < borders_.size(); ++i) {
      if (targets[i].empty()) continue;
      const auto [found, is_new] = known.try_emplace(targets[i], -1);
      if (is_new) found->second = id(closure(targets[i], false, false));
      const char32_t low = borders_[i], high = borders_[i + 1] - 1;
      if (!edges.empty() && edges.back().to == found->second && edges.back().high + 1 == low) {
        edges.back().high = high;
      } else {
        edges.push_back({low, high, found->second});
      }
    }
  }

  int32_t id(std::vector<int32_t> set) {
    const auto [found, is_new] = ids_.try_emplace(set, static_cast<int32_t>(sets_.size()));
    if (is_new) sets_.push_back(std::move(set));
    if (sets_.size() > CharDfa::kMaxStates) {
      throw PatternRefused{fmt::format("it needs more than {} states", CharDfa::kMaxStates)};
    }
    return found->second;
  }

  void work(size_t n) {
    if (work_ < n) throw PatternRefused{"it takes too long to compile"};
    work_ -= n;
  }

  const PatternNodes& nodes_;
  std::vector<char32_t> borders_;
  CharDfa dfa_;
  std::vector<std::vector<int32_t>> sets_;
  std::map<std::vector<int32_t>, int32_t> ids_;
  size_t& work_;
};

}  // namespace

CompiledPattern compile_pattern(std::string_view pattern, size_t& work) {
  try {
    const PatternTree tree = parse_pattern(pattern);
    const PatternNodes nodes(tree);
    CompiledPattern compiled{Determiniser(nodes, work).run(), {}};
    if (!compiled.dfa.trim()) compiled.refusal = "no text matches it";
    return compiled;
  } catch (const PatternRefused& refused) {
    return {{}, refused.reason};
  }
}

std::optional<std::string> pattern_of_format(std::string_view format) {
  static const std::string kYear = R"((\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000))";
  static const std::string kLeapYear = R"((\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00))";
  static const std::string kDate =
      "((" + kYear +
      R"(-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8])))|)" +
      kLeapYear + "-02-29)";
  static const std::string kTime = R"(([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))";
  static const std::string kHours = R"(T(\d{1,9}H(\d{1,9}M(\d{1,9}S)?)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))";
  static const std::string kDays = R"(\d{1,9}D()" + kHours + ")?";
  static const std::string kMonths = R"(\d{1,9}M()" + kDays + ")?";
  static const std::string kHost =
      R"(([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,2})";
  static const std::string kByte = R"((\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5]))";
  static const std::string kWords = R"([A-Za-z0-9_%+-]{1,20})";
  static const std::map<std::string, std::string, std::less<>> kPatterns = {
      {"date", kDate},
      {"time", kTime},
      {"date-time", kDate + "T" + kTime},
      {"duration", R"(P(\d{1,9}W|\d{1,9}Y()" + kMonths + ")?|" + kMonths + "|" + kDays + "|" + kHours + ")"},
      {"uuid", R"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"},
      {"email", kWords + R"((\.)" + kWords + R"(){0,2}@)" + kHost + R"(\.[A-Za-z]{2,20})"},
      {"hostname", kHost},
      {"ipv4", kByte + R"((\.)" + kByte + "){3}"},
      {"ipv6", R"(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|::([0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{1,4}|::)"},
      {"uri",
       R"([a-z][a-z0-9]{0,15}://)" + kHost +
           R"((:\d{1,4})?(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*)*(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*)?(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*)?)"},
  };
  const auto found = kPatterns.find(format);
  return found == kPatterns.end() ? std::nullopt : std::optional("^(" + found->second + ")$");
}

}  // namespace flashmoe
