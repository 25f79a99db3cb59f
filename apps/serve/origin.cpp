#include "serve/origin.h"

#include <algorithm>
#include <cctype>

namespace flashmoe {

bool is_same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string_view bearer_of(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (!is_same_word(authorization.substr(0, kScheme.size()), kScheme)) return {};
  authorization.remove_prefix(kScheme.size());
  return authorization.substr(std::min(authorization.size(), authorization.find_first_not_of(' ')));
}

std::string_view host_of_target(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!is_same_word(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    return target.substr(0, target.find_first_of("/?"));
  }
  return {};
}

bool is_local_host(std::string_view host) {
  if (host.empty()) return true;
  if (host.front() == '[') return host.find(']') != std::string_view::npos;  // an IPv6 address
  const std::string_view name = host.substr(0, host.find(':'));
  if (is_same_word(name, "localhost") || is_same_word(name, "localhost.")) return true;
  const auto dots = std::count(name.begin(), name.end(), '.');
  return dots == 3 && name.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool is_same_origin(std::string_view origin, std::string_view host) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.substr(0, scheme.size()) == scheme) return is_same_word(origin.substr(scheme.size()), host);
  }
  return false;
}

bool is_origin(std::string_view text) {
  if (text == "*" || text == "null") return true;
  const size_t scheme = text.find("://");
  if (scheme == 0 || scheme == std::string_view::npos) return false;
  const std::string_view host = text.substr(scheme + 3);
  return !host.empty() && host.find_first_of("/?# ") == std::string_view::npos;
}

bool is_header_list(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

std::string literal_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '/' && c != '_') pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace flashmoe
