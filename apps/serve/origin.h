// Judging headers that a browser sends on behalf of a page.
#pragma once

#include <string>
#include <string_view>

namespace flashmoe {

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
