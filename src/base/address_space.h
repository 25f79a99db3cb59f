// The process's limit of address space, which takes stacks and what is reserved as if they were memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace flashmoe {

// In bytes; nothing where there is none.
std::optional<uint64_t> address_space_limit();

// What mends that the system gives none: where there is a limit it is named, else this is `otherwise`.
std::string mend_of_refusal(const std::string& otherwise);

}  // namespace flashmoe
