#include "serve/exchange.h"

#include <fmt/format.h>

#include <ctime>
#include <random>

#include "serve/request_fields.h"

namespace flashmoe {
namespace {

std::mt19937_64& random_numbers() {
  thread_local std::mt19937_64 numbers = [] {
    std::random_device device;
    return std::mt19937_64((uint64_t{device()} << 32) | device());
  }();
  return numbers;
}

}  // namespace

void check_choices(int64_t n_choices, const Served& served, const char* field) {
  const int64_t most = int64_t{served.n_parallel} + served.n_waiting;
  if (n_choices <= most) return;
  bad_request(field, fmt::format("{} answers are asked for, but this server takes at most {} at once (--parallel {}, "
                                 "--queue {}); ask for fewer",
                                 n_choices, most, served.n_parallel, served.n_waiting));
}

std::string server_sent(std::string_view name, std::string_view json) {
  std::string out;
  if (!name.empty()) out.append("event: ").append(name).append("\n");
  return out.append("data: ").append(json).append("\n\n");
}

std::string new_id(const char* prefix) {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::uniform_int_distribution<size_t> pick(0, kLetters.size() - 1);
  std::string id = prefix;
  for (int i = 0; i < 24; ++i) id += kLetters[pick(random_numbers())];
  return id;
}

int64_t unix_time() { return static_cast<int64_t>(std::time(nullptr)); }

uint64_t random_seed() { return random_numbers()() >> 1; }

}  // namespace flashmoe
