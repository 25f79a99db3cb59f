// Who got which part of the memory that the process may use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>

namespace flashmoe {

enum class Allotted { trunk, kv_cache, delta_state, workspace, expert_cache, read_buffers, program, sessions };
inline constexpr int kAllottedCount = 8;
inline constexpr std::array<const char*, kAllottedCount> kAllottedNames = {
    "trunk", "kv_cache", "delta_state", "workspace", "expert_cache", "read_buffers", "program", "sessions"};
// What a sequence, a step or a conversation takes when it comes; until then the expert cache may borrow it.
inline constexpr std::array<Allotted, 4> kLenders = {Allotted::kv_cache, Allotted::delta_state, Allotted::workspace,
                                                     Allotted::sessions};

// Named allotments that Buffers draw from. Thread-safe.
class Budget {
 public:
  void allot(Allotted what, uint64_t bytes);
  // Takes bytes from an allotment; false (and nothing taken) if it has too few left.
  [[nodiscard]] bool claim(Allotted what, uint64_t bytes);
  void release(Allotted what, uint64_t bytes);
  uint64_t allotted(Allotted what) const;
  uint64_t used(Allotted what) const;

  // From now on the expert cache may claim, beyond its own allotment, so much of the lenders' as they have not claimed.
  void lend(uint64_t bytes);
  bool lends() const;
  // What it may have claimed at most, right now and when the lenders have claimed nothing.
  uint64_t expert_cache_limit() const;
  uint64_t expert_cache_most() const;
  // `give_back` is called by whoever claims of a lender what is lent, before the claim returns, and must release so
  // much of the expert cache that expert_cache_limit() is kept. What it throws ends the claim, and nothing is taken.
  // Empty: there is no cache.
  void set_give_back(std::function<void()> give_back);

 private:
  static size_t index(Allotted what) { return static_cast<size_t>(what); }
  uint64_t limit(Allotted what) const;
  uint64_t& used_of(Allotted what) { return used_[index(what)]; }

  mutable std::mutex mutex_;
  std::array<uint64_t, kAllottedCount> allotted_{};
  std::array<uint64_t, kAllottedCount> used_{};
  uint64_t lent_ = 0;
  std::function<void()> give_back_;
};

}  // namespace flashmoe
