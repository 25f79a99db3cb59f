#include "option_values.h"

#include <fmt/format.h>

#include <cmath>

namespace flashmoe {

CLI::Option* add_list(CLI::App& cli, const std::string& name, const std::string& text,
                      const std::function<std::string(std::string_view)>& take, const std::string& description) {
  const auto read = [take, name](const std::string& values) {
    std::string_view left = values;
    while (true) {
      const size_t comma = left.find(',');
      const std::string_view value = left.substr(0, comma);
      const std::string expected = take(value);
      if (!expected.empty()) throw CLI::ValidationError(name, expected + ", not '" + std::string(value) + "'");
      if (comma == std::string_view::npos) return;
      left.remove_prefix(comma + 1);
    }
  };
  return cli.add_option_function<std::string>(name, read, description)->option_text(text);
}

bool read_positive(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value > 0;
}

std::string take_quantity(std::string_view text, std::string_view what, double& value) {
  if (read_positive(text, value) && value >= 1e-6 && value <= 1e9) return "";
  return fmt::format("{} from 1e-6 to 1e9, such as 3.5, is expected", what);
}

}  // namespace flashmoe
