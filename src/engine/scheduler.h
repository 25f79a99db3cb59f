// Whose rows go into the next step. One thread calls run(); the other functions may be called from any.
#pragma once

#include <array>

#include "engine/running_answer.h"
#include "engine/session_store.h"
#include "engine/settler.h"

namespace flashmoe {

class Scheduler {
 public:
  Scheduler(const EngineParts& parts, const ServiceOptions& options);

  // Puts a request at the end of the queue. Throws Error{busy} when it is full.
  void add(std::unique_ptr<RunningAnswer> answer);
  // A cancelled answer that waits, or the end of everything, is noticed at once.
  void wake();
  // Answers until stop(), then ends what is left with Error{interrupted}.
  void run();
  void stop();
  ServiceStats stats() const;
  std::vector<std::string> take_notes();

 private:
  using Answers = std::vector<std::unique_ptr<RunningAnswer>>;
  bool idle_work();
  bool settle();
  bool save_one();
  void admit();
  std::unique_ptr<Sequence> empty_sequence();
  void remember(RunningAnswer& reader, int64_t n_read);
  void drop_cancelled();
  void step();
  int64_t add_prefill(RunningAnswer& reader);
  int64_t pass_stops(RunningAnswer& reader, int64_t n);
  // Whether a step is for nobody: its reader was cancelled, and no answer is beside it.
  bool reader_left() const { return reader_ != nullptr && decoding_.empty() && reader_->cancelled(); }
  RunningAnswer* next_reader();
  RunningAnswer* next_suspect();
  void take_results(RunningAnswer* reader, int64_t n_read);
  void take_rows(int64_t first_row, std::span<RunningAnswer* const> answers);
  void end_answers();
  std::unique_ptr<RunningAnswer> remove(RunningAnswer& answer);
  void fail_one(RunningAnswer& answer, const std::exception_ptr& error);
  void recover(const std::exception_ptr& error);
  void fail_all(const std::exception_ptr& error);
  void before_layer(int layer);
  void count(double seconds, int64_t n_decoded, int64_t n_read);
  void publish();

  EngineParts parts_;
  const ServiceOptions options_;
  SessionStore store_;
  Settler settler_;
  std::vector<std::unique_ptr<Sequence>> free_sequences_;
  Answers running_;

  // Of the step that is made.
  std::vector<int32_t> tokens_;
  std::vector<Run> runs_;
  std::vector<StateCopy> copies_;  // at the reader's stops
  std::vector<Buffer> copied_;     // what they fill
  std::vector<RunningAnswer*> decoding_, ended_;
  RunningAnswer* reader_ = nullptr;
  int64_t reader_rows_ = 0;
  size_t turn_ = 0;

  std::array<std::pair<int64_t, uint64_t>, 8> lately_{};  // second, tokens decoded in it

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::unique_ptr<RunningAnswer>> waiting_;
  ServiceStats stats_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> wanted_ = false;  // somebody waits
};

}  // namespace flashmoe
