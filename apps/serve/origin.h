// Judging what a request says of where it came from and where it goes.
#pragma once

#include <string>
#include <string_view>

namespace flashmoe {

// Letters of either case are the same, as in schemes and names of hosts.
bool is_same_word(std::string_view a, std::string_view b);
// What stands behind the scheme of an Authorization header: "Bearer KEY". Empty for other schemes.
std::string_view bearer_of(std::string_view authorization);
// A request target as proxies are sent it, http://HOST/PATH?QUERY, is its host; empty for others.
std::string_view host_of_target(std::string_view target);
// A Host header that names this machine by an address or as localhost, or is missing.
bool is_local_host(std::string_view host);
// An Origin header that is this server itself.
bool is_same_origin(std::string_view origin, std::string_view host);
// What such a header can say: scheme://host, scheme://host:port, or null, as of a page in a file. Or *, for any.
bool is_origin(std::string_view text);
// Names of headers, separated by commas.
bool is_header_list(std::string_view text);
// A regular expression that matches the text alone.
std::string literal_pattern(std::string_view text);

}  // namespace flashmoe
