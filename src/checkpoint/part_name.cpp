#include "checkpoint/part_name.h"

#include <fmt/format.h>

#include <charconv>

namespace flashmoe {

constexpr size_t kPartDigits = 5;

std::string PartName::name_of(uint64_t part_number) const {
  return fmt::format("{}-{:05}-of-{:05}{}", prefix, part_number, count, extension);
}

std::optional<PartName> parse_part_name(std::string_view file_name) {
  constexpr std::string_view kOf = "-of-";
  const size_t of = file_name.rfind(kOf);
  if (of == std::string_view::npos || of < kPartDigits + 1 || file_name[of - kPartDigits - 1] != '-') return {};
  const std::string_view after = file_name.substr(of + kOf.size());
  if (after.size() <= kPartDigits || after[kPartDigits] != '.') return {};
  PartName part;
  const auto number = [](std::string_view digits, uint64_t& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!number(file_name.substr(of - kPartDigits, kPartDigits), part.number)) return {};
  if (!number(after.substr(0, kPartDigits), part.count)) return {};
  if (part.number < 1 || part.number > part.count) return {};
  part.prefix = file_name.substr(0, of - kPartDigits - 1);
  part.extension = after.substr(kPartDigits);
  return part;
}

}  // namespace flashmoe
