#include "base/address_space.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include "flashmoe/wording.h"

namespace flashmoe {

std::optional<uint64_t> address_space_limit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

std::string mend_of_refusal(const std::string& otherwise) {
  const auto limit = address_space_limit();
  if (!limit) return otherwise;
  return fmt::format("the address space is limited to {}: raise that (ulimit -v)", human_bytes(*limit));
}

}  // namespace flashmoe
