// Options whose values are checked where they are read, with one way of complaining.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "quantities.h"

namespace flashmoe {

// Integers are shown without exponent, floats as short as they can be.
template <typename T>
std::string show_limit(T value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return std::string(text, end);
}

// Checks that there is something: empty text is a variable that was not set, not a wish for the default.
inline auto expect(const char* what) {
  return [what](const std::string& text) { return text.empty() ? std::string(what) + " is expected, not ''" : ""; };
}
inline std::string not_empty(const std::string& path) { return expect("a path")(path); }

// For files to be written: "-" is standard input everywhere else, and no name that anybody wants.
inline std::string not_standard_output(const std::string& path) {
  return path == "-" ? "a file is expected, not standard output" : not_empty(path);
}

// The file that a subcommand is there to write.
inline void add_output(CLI::App& cli, std::string& path, const std::string& description) {
  cli.add_option("-o,--out,--output", path, description)->option_text("FILE")->check(not_standard_output)->required();
}

// A number in [least, most]. The largest value of T as `most` means "or more".
template <typename T>
CLI::Option* add_number(CLI::App& cli, const std::string& names, T& target, T least, T most,
                        const std::string& description) {
  const std::string shown = names.substr(names.find("--") == std::string::npos ? 0 : names.find("--"));
  const auto read = [&target, least, most, shown](const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool number = error == std::errc() && end == text.data() + text.size() && !text.empty();
    if (!number || !(value >= least && value <= most)) {
      const bool above = error == std::errc::result_out_of_range && !text.starts_with('-');
      const std::string range = most == std::numeric_limits<T>::max() && !above
                                    ? show_limit(least) + " or more"
                                    : "from " + show_limit(least) + " to " + show_limit(most);
      throw CLI::ValidationError(shown, std::string(std::is_integral_v<T> ? "a whole number" : "a number") + " " +
                                            range + " is expected, not '" + text + "'");
    }
    target = value;
  };
  return cli.add_option_function<std::string>(names, read, description)->option_text("N");
}

template <typename T>
CLI::Option* add_choice(CLI::App& cli, const std::string& name, T& target,
                        const std::vector<std::pair<std::string, T>>& choices, const std::string& description) {
  std::string listed;
  for (const auto& choice : choices) listed += (listed.empty() ? "" : "|") + choice.first;
  const auto read = [&target, choices, listed, name](const std::string& text) {
    for (const auto& [word, value] : choices) {
      if (word == text) {
        target = value;
        return;
      }
    }
    throw CLI::ValidationError(name, "one of " + listed + " is expected, not '" + text + "'");
  };
  return cli.add_option_function<std::string>(name, read, description)->option_text(listed);
}

inline CLI::Option* add_size(CLI::App& cli, const std::string& name, uint64_t& target, const std::string& description) {
  const auto read = [&target, name](const std::string& text) {
    const auto bytes = parse_bytes(text);
    if (!bytes || *bytes == 0) {
      throw CLI::ValidationError(name, "a size such as 8G, 512M or 1.5GiB is expected, not '" + text + "'");
    }
    target = *bytes;
  };
  return cli.add_option_function<std::string>(name, read, description)->option_text("SIZE");
}

// An option that takes values separated by commas and hands them to `take` one by one, which complains by returning
// what is expected.
CLI::Option* add_list(CLI::App& cli, const std::string& name, const std::string& text,
                      const std::function<std::string(std::string_view)>& take, const std::string& description);

// "7", "3.5", "1e3": positive. False for anything else.
bool read_positive(std::string_view text, double& value);

// A time or speed as some machine may have it, from 1e-6 to 1e9: beyond, what is computed from it is no number. What is
// expected, with `what` before it, or nothing where the text is that.
std::string take_quantity(std::string_view text, std::string_view what, double& value);

}  // namespace flashmoe
