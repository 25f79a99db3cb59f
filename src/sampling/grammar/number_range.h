// Numbers between bounds, digit by digit.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "sampling/grammar/automaton.h"

namespace flashmoe {

// A number as its digits, without leading or trailing zeros.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;

  static Decimal of(const nlohmann::ordered_json& number);
  bool is_zero() const { return whole.empty() && fraction.empty(); }
};
// -1, 0 or 1: a is less than, equal to or more than b.
int compare(const Decimal& a, const Decimal& b);

struct Bound {
  Decimal value;
  bool exclusive = false;
};

struct NumberRange {
  std::optional<Bound> low, high;

  bool is_limited() const { return low || high; }
  bool holds(const Decimal& value) const;
  void at_least(const Bound& bound);  // the stricter of both
  void at_most(const Bound& bound);

  // Exactly the integers or numbers of at most so many digits, without exponent: so many a double tells apart, so that
  // what is read back is in the range too. False: only longer ones meet the bounds.
  static int most_digits(bool integers);
  [[nodiscard]] bool add_steps(Automaton& automaton, bool integers, Node from, Node to) const;
};

}  // namespace flashmoe
