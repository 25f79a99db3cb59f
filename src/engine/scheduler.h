// Whose rows go into the next step. One thread calls run(); the other functions may be called from any.
#pragma once

#include <array>

#include "engine/running_answer.h"
#include "engine/session_store.h"
#include "engine/settler.h"
#include "engine/storage_faults.h"

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
  std::vector<std::string> take_faults();

 private:
  using Answers = std::vector<std::unique_ptr<RunningAnswer>>;
  // Rows of a prompt in a step.
  struct Reader {
    RunningAnswer* answer = nullptr;
    int64_t n_rows = 0;
    std::vector<StateCopy> copies;  // at its stops
    std::vector<Buffer> copied;     // what they fill
  };
  bool idle_work();
  bool settle();
  bool save_one();
  void gather();
  void admit();
  std::unique_ptr<Sequence> empty_sequence() const;
  std::unique_ptr<Sequence> resumed(std::span<const int32_t> ids);
  void remember(Reader& reader);
  void drop_cancelled();
  void step();
  void add_readers();
  int64_t add_prefill(RunningAnswer& answer, int64_t most);
  int64_t pass_stops(Reader& reader, int64_t n);
  bool readers_left() const;
  RunningAnswer* next_suspect();
  void take_results();
  void take_rows(int64_t first_row, std::span<RunningAnswer* const> answers);
  void end_answers();
  std::unique_ptr<RunningAnswer> remove(RunningAnswer& answer);
  void count_failed();
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
  StorageFaults storage_;
  Answers running_;

  // Of the step that is made.
  std::vector<int32_t> tokens_;
  std::vector<Run> runs_;
  std::vector<RunningAnswer*> decoding_, ended_;
  std::vector<std::pair<RunningAnswer*, std::exception_ptr>> failed_;
  std::vector<Reader> readers_;
  size_t turn_ = 0;  // of running_: whose prompt comes first

  std::array<std::pair<int64_t, uint64_t>, 8> lately_{};  // second, tokens decoded in it

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::unique_ptr<RunningAnswer>> waiting_;
  ServiceStats stats_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> wanted_ = false;  // somebody waits
};

}  // namespace flashmoe
