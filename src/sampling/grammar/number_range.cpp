#include "sampling/grammar/number_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "sampling/grammar/json_values.h"

namespace flashmoe {
namespace {

int compare_magnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  const int whole = a.whole.compare(b.whole);
  const int order = whole != 0 ? whole : a.fraction.compare(b.fraction);  // fractions end in no zero
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

// What a magnitude may be.
struct Magnitudes {
  Bound low;
  std::optional<Bound> high;
};

// Numbers with `n_whole` digits before the point and up to `n_fraction` behind it.
class Digits {
 public:
  Digits(Automaton& automaton, const Magnitudes& range, size_t n_whole, size_t n_fraction)
      : a_(automaton), n_whole_(n_whole), n_(n_whole + n_fraction) {
    low_ = digits_of(range.low.value);
    low_exclusive_ = range.low.exclusive || cut_off(range.low.value, n_fraction);
    has_high_ = range.high && range.high->value.whole.size() <= n_whole;
    if (!has_high_) return;
    high_ = digits_of(range.high->value);
    high_exclusive_ = range.high->exclusive && !cut_off(range.high->value, n_fraction);
  }

  // Whether there are any.
  bool add(Node from, Node to) { return add_from(from, {0, true, has_high_}, to); }

 private:
  struct Place {
    size_t at;
    bool on_low, on_high;  // all digits so far are those of the bound
    bool operator<(const Place& other) const {
      return std::tie(at, on_low, on_high) < std::tie(other.at, other.on_low, other.on_high);
    }
  };

  struct Rest {
    Node node;
    bool any;  // numbers that go on from there
  };

  std::string digits_of(const Decimal& value) const {
    std::string digits(n_whole_ - std::min(n_whole_, value.whole.size()), '0');
    digits += value.whole + value.fraction;
    digits.resize(n_, '0');
    return digits;
  }
  static bool cut_off(const Decimal& value, size_t n_fraction) { return value.fraction.size() > n_fraction; }

  bool may_end(const Place& place) const {
    const auto rest_is_zero = [&](const std::string& digits) {
      return digits.find_first_not_of('0', place.at) == std::string::npos;
    };
    if (place.at < n_whole_) return false;
    if (place.on_low && (low_exclusive_ || !rest_is_zero(low_))) return false;
    return !(place.on_high && high_exclusive_ && rest_is_zero(high_));
  }

  bool add_from(Node from, const Place& place, Node to) {
    bool any = may_end(place);
    if (any) a_.add_empty(from, to);
    if (place.at == n_) return any;
    if (place.at == n_whole_) {
      const Node point = a_.add_node();
      a_.add_bytes(from, '.', '.', point);
      from = point;
    }
    // No 0 before another digit of the whole part.
    const char least = place.at == 0 && n_whole_ > 1 ? '1' : '0';
    for (char digit = least; digit <= '9'; ++digit) {
      if (place.on_low && digit < low_[place.at]) continue;
      if (place.on_high && digit > high_[place.at]) break;
      const Place next{place.at + 1, place.on_low && digit == low_[place.at],
                       place.on_high && digit == high_[place.at]};
      const Rest rest = rest_of(next, to);
      a_.add_bytes(from, static_cast<uint8_t>(digit), static_cast<uint8_t>(digit), rest.node);
      any = any || rest.any;
    }
    return any;
  }

  Rest rest_of(const Place& place, Node to) {
    if (const auto found = rests_.find(place); found != rests_.end()) return found->second;
    const Node fresh = a_.add_node();
    return rests_[place] = {fresh, add_from(fresh, place, to)};
  }

  Automaton& a_;
  size_t n_whole_, n_;
  std::string low_, high_;  // [n_]
  bool low_exclusive_ = false, high_exclusive_ = false, has_high_ = false;
  std::map<Place, Rest> rests_;
};

// Whether there are any.
bool add_magnitudes(Automaton& automaton, const Magnitudes& range, bool integers, Node from, Node to) {
  const auto most = static_cast<size_t>(NumberRange::most_digits(integers));
  bool any = false;
  const size_t least = std::max<size_t>(1, range.low.value.whole.size());
  for (size_t n_whole = least; n_whole <= most; ++n_whole) {
    if (range.high && n_whole > std::max<size_t>(1, range.high->value.whole.size())) break;
    any = Digits(automaton, range, n_whole, integers ? 0 : most - n_whole).add(from, to) || any;
  }
  return any;
}

// Of bounds that no number of so many digits meets: a longer one would not either.
bool contradicts(const NumberRange& range, bool integers) {
  if (!range.low || !range.high) return false;
  const Bound &low = *range.low, &high = *range.high;
  const int order = compare(low.value, high.value);
  if (order > 0 || (order == 0 && (low.exclusive || high.exclusive))) return true;
  const auto most = static_cast<size_t>(JsonValues::kIntegerDigits);
  return integers && low.value.whole.size() <= most && high.value.whole.size() <= most;
}

}  // namespace

Decimal Decimal::of(const nlohmann::ordered_json& number) {
  std::string text = number.is_number_float() ? fmt::format("{}", number.get<double>()) : number.dump();
  Decimal decimal;
  if (text.starts_with('-')) {
    decimal.negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const size_t e = text.find('e'); e != std::string::npos) {
    exponent = std::stoi(text.substr(e + 1));
    text.resize(e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  decimal.whole = text.substr(0, point);
  if (point < text.size()) decimal.fraction = text.substr(point + 1);
  for (; exponent > 0; --exponent) {
    decimal.whole += decimal.fraction.empty() ? '0' : decimal.fraction[0];
    if (!decimal.fraction.empty()) decimal.fraction.erase(0, 1);
  }
  for (; exponent < 0; ++exponent) {
    decimal.fraction.insert(decimal.fraction.begin(), decimal.whole.empty() ? '0' : decimal.whole.back());
    if (!decimal.whole.empty()) decimal.whole.pop_back();
  }
  decimal.whole.erase(0, std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size()));
  decimal.fraction.resize(decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.is_zero()) decimal.negative = false;
  return decimal;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  return a.negative ? compare_magnitudes(b, a) : compare_magnitudes(a, b);
}

bool NumberRange::holds(const Decimal& value) const {
  if (low && compare(value, low->value) < (low->exclusive ? 1 : 0)) return false;
  return !high || compare(value, high->value) <= (high->exclusive ? -1 : 0);
}

void NumberRange::at_least(const Bound& bound) {
  const int order = low ? compare(bound.value, low->value) : 1;
  if (order > 0 || (order == 0 && bound.exclusive)) low = bound;
}

void NumberRange::at_most(const Bound& bound) {
  const int order = high ? compare(bound.value, high->value) : -1;
  if (order < 0 || (order == 0 && bound.exclusive)) high = bound;
}

int NumberRange::most_digits(bool integers) {
  return integers ? JsonValues::kIntegerDigits : JsonValues::kNumberDigits;
}

bool NumberRange::add_steps(Automaton& automaton, bool integers, Node from, Node to) const {
  const auto magnitude = [](Bound bound) {
    bound.value.negative = false;
    return bound;
  };
  bool any = false;
  if (!high || !high->value.negative) {
    Magnitudes range;
    range.high = high;
    if (low && !low->value.negative) range.low = *low;
    any = add_magnitudes(automaton, range, integers, from, to);
  }
  if (!low || low->value.negative) {
    Magnitudes range;
    range.low.exclusive = true;  // -0 is no number of its own
    if (low) range.high = magnitude(*low);
    if (high && high->value.negative) range.low = magnitude(*high);
    const Node negative = automaton.add_node();
    automaton.add_bytes(from, '-', '-', negative);
    any = add_magnitudes(automaton, range, integers, negative, to) || any;
  }
  return any || contradicts(*this, integers);
}

}  // namespace flashmoe
