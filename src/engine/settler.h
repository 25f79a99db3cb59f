// What the next prompt of an answered conversation will begin with, read while nobody waits: the answer in the form
// that the chat template gives it once it is history, up to its end of turn. Belongs to the engine's thread.
#pragma once

#include <deque>

#include "engine/running_answer.h"
#include "engine/session_store.h"

namespace flashmoe {

class Settler {
 public:
  explicit Settler(const EngineParts& parts) : parts_(parts) {}

  // An answer that is over; of several the latest few are kept, and none of a request that is very long.
  void add(RunningAnswer& answer);
  bool idle() const { return waiting_.empty(); }
  void forget() { waiting_.clear(); }
  // Reads the latest into an empty sequence and has the store keep it. Returns how many tokens that took. When the step
  // is ended by an Error{interrupted}, it goes on another time; what cannot be read is dropped.
  int64_t settle(Sequence& sequence, SessionStore& store);
  // Whether settle is at work.
  bool working() const { return working_; }

 private:
  struct Answered {
    nlohmann::ordered_json chat;  // the answer is its last message
    bool called_tools = false;
    size_t bytes = 0;  // of the request
  };
  std::vector<int32_t> beginning_of_next(const Answered& answered) const;
  int64_t read(std::span<const int32_t> ids, Sequence& sequence, SessionStore& store);

  const EngineParts& parts_;
  std::deque<Answered> waiting_;
  bool working_ = false;
};

}  // namespace flashmoe
