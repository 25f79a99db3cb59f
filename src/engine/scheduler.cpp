#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "base/error.h"
#include "engine/peak_memory.h"
#include "engine/session_identity.h"

namespace flashmoe {
namespace {

constexpr int64_t kLatelySeconds = 5;
// A prompt whose experts are streamed takes seconds, and those that come in one moment share what is read for it.
constexpr std::chrono::milliseconds kOneMoment{5};

std::unique_ptr<SessionFolder> open_folder(const EngineParts& parts, const ServiceOptions& options) {
  if (options.sessions_folder.empty()) return nullptr;
  return std::make_unique<SessionFolder>(options.sessions_folder, options.most_session_bytes, session_identity(parts));
}

}  // namespace

Scheduler::Scheduler(const EngineParts& parts, const ServiceOptions& options)
    : parts_(parts),
      options_(options),
      store_(parts.session.forward.blocks(), parts.session.budget, open_folder(parts, options)),
      settler_(parts_),
      storage_(parts.checkpoint->files()) {
  const auto n = static_cast<size_t>(options.n_parallel);
  tokens_.reserve(static_cast<size_t>(parts_.session.forward.max_rows()));
  runs_.reserve(n);
  decoding_.reserve(n);
  readers_.reserve(n);
  ended_.reserve(n);
  parts_.session.forward.profile().on = true;
  parts_.session.forward.set_before_layer([this](int layer) { before_layer(layer); });
  if (store_.folder() != nullptr) {
    const auto found = store_.folder()->scan();
    parts_.sampled_calls->recall(found, *store_.folder());
    store_.recall(found, *empty_sequence(), parts.session.forward.config().vocab_size);
  }
  publish();
}

std::vector<std::string> Scheduler::take_notes() {
  std::vector<std::string> notes = storage_.take_notes();
  if (store_.folder() != nullptr) std::ranges::move(store_.folder()->take_notes(), std::back_inserter(notes));
  return notes;
}

std::vector<std::string> Scheduler::take_faults() { return storage_.take_faults(); }

void Scheduler::add(std::unique_ptr<RunningAnswer> answer) {
  const std::lock_guard lock(mutex_);
  if (stopping_) fail(Fault::interrupted, "the service is shutting down");
  const size_t n_taken = waiting_.size() + static_cast<size_t>(stats_.n_running);
  if (n_taken >= static_cast<size_t>(options_.n_parallel) + static_cast<size_t>(options_.n_waiting)) {
    ++stats_.n_refused;
    fail(Fault::busy, "{} requests are being answered and {} wait, which is all this service takes; try again later",
         stats_.n_running, waiting_.size());
  }
  ++stats_.n_requests;
  answer->tell_waiting(waiting_.size());
  waiting_.push_back(std::move(answer));
  wanted_ = true;
  stats_.n_waiting = static_cast<int>(waiting_.size());
  changed_.notify_all();
}

void Scheduler::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void Scheduler::stop() {
  stopping_ = true;
  wake();
}

ServiceStats Scheduler::stats() const {
  const std::lock_guard lock(mutex_);
  ServiceStats stats = stats_;
  stats.engine.peak_bytes = peak_resident_set_bytes();
  stats.lasting_fault = storage_.lasting();
  return stats;
}

void Scheduler::run() {
  while (!stopping_) {
    drop_cancelled();
    admit();
    if (running_.empty()) {
      if (idle_work()) continue;
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      continue;
    }
    try {
      step();
    } catch (const Error& error) {
      if (stopping_) continue;  // the step was cut short on purpose: told below
      if (readers_left()) {
        readers_.clear();  // dropped next, and their sequences with them
      } else if (error.fault() == Fault::interrupted) {
        fail_all(std::current_exception());
      } else {
        storage_.add(error);
        recover(std::current_exception());
      }
      publish();
    }
  }
  fail_all(std::make_exception_ptr(Error(Fault::interrupted, "the service was shut down")));
  while (save_one()) {
  }
}

bool Scheduler::save_one() {
  return store_.save_one() || (store_.folder() != nullptr && parts_.sampled_calls->save_one(*store_.folder()));
}

// A piece of what can wait until nobody does. False when there is nothing, or the system gives no memory for it.
bool Scheduler::idle_work() {
  try {
    if (!settle() && !save_one()) return false;
  } catch (const Error&) {
    settler_.forget();
    return false;
  }
  publish();
  return true;
}

bool Scheduler::settle() {
  if (settler_.idle()) return false;
  const int64_t n = settler_.settle(*empty_sequence(), store_);
  const std::lock_guard lock(mutex_);
  stats_.settled_tokens += static_cast<uint64_t>(n);
  return true;
}

void Scheduler::drop_cancelled() {
  Answers dropped;
  // Each is asked once: it may be cancelled at any moment.
  const auto take_cancelled = [&dropped](auto& answers) {
    for (auto at = answers.begin(); at != answers.end();) {
      if (!(*at)->cancelled()) {
        ++at;
        continue;
      }
      dropped.push_back(std::move(*at));
      at = answers.erase(at);
    }
  };
  take_cancelled(running_);
  for (auto& answer : dropped) answer->drop_sequence();
  {
    const std::lock_guard lock(mutex_);
    take_cancelled(waiting_);
    stats_.n_cancelled += dropped.size();
    stats_.n_waiting = static_cast<int>(waiting_.size());
    stats_.n_running = static_cast<int>(running_.size());
  }
  if (dropped.empty()) return;
  const auto ended = std::make_exception_ptr(Error(Fault::interrupted, "the request was cancelled"));
  for (auto& answer : dropped) answer->fail(ended);  // once it is counted
}

// What comes first to a service that has nothing to do waits a moment for others.
void Scheduler::gather() {
  const ModelConfig& config = parts_.session.forward.config();
  if (!running_.empty() || parts_.session.experts.max_picks() == config.n_layers * config.n_experts) return;
  std::unique_lock lock(mutex_);
  if (waiting_.empty()) return;
  changed_.wait_for(lock, kOneMoment,
                    [&] { return stopping_ || waiting_.size() >= static_cast<size_t>(options_.n_parallel); });
}

void Scheduler::admit() {
  gather();
  while (running_.size() < static_cast<size_t>(options_.n_parallel)) {
    std::unique_ptr<RunningAnswer> answer;
    {
      const std::lock_guard lock(mutex_);
      wanted_ = !waiting_.empty();
      if (waiting_.empty()) return;
      answer = std::move(waiting_.front());
      waiting_.pop_front();
      stats_.n_waiting = static_cast<int>(waiting_.size());
      stats_.n_running = static_cast<int>(running_.size()) + 1;
      for (size_t i = 0; i < waiting_.size(); ++i) waiting_[i]->tell_waiting(i);
    }
    try {
      answer->begin(resumed(answer->prompt().ids));
      running_.push_back(std::move(answer));
    } catch (const Error&) {
      count_failed();
      answer->fail(std::current_exception());
    }
  }
}

// A sequence that holds the longest known beginning of `ids`. Throws Error{io} when the system gives no memory.
std::unique_ptr<Sequence> Scheduler::resumed(std::span<const int32_t> ids) {
  std::unique_ptr<Sequence> sequence = empty_sequence();
  store_.resume(ids, *sequence);
  return sequence;
}

std::unique_ptr<Sequence> Scheduler::empty_sequence() const {
  const SessionParts& s = parts_.session;
  return std::make_unique<Sequence>(s.forward.config(), s.kv_format, s.context_tokens, s.budget);
}

void Scheduler::step() {
  tokens_.clear();
  runs_.clear();
  decoding_.clear();
  readers_.clear();
  RunningAnswer* const alone = next_suspect();
  for (const auto& answer : running_) {
    if (answer->reading() || (alone != nullptr && answer.get() != alone)) continue;
    runs_.push_back({&answer->sequence(), static_cast<int64_t>(tokens_.size()), 1, answer->sequence().n_tokens()});
    tokens_.push_back(answer->unfed_id());
    decoding_.push_back(answer.get());
  }
  if (alone == nullptr) {
    add_readers();
  } else if (alone->reading()) {
    add_prefill(*alone, parts_.session.prefill_chunk);
  }
  const uint64_t start_ns = now_ns();
  parts_.session.forward.step(Batch{tokens_, runs_});
  storage_.passed();
  take_results();
  const auto n_decoded = static_cast<int64_t>(decoding_.size());
  count(seconds_since(start_ns), n_decoded, static_cast<int64_t>(tokens_.size()) - n_decoded);
  readers_.clear();
  end_answers();
  for (const auto& [answer, error] : std::exchange(failed_, {})) fail_one(*answer, error);
}

void Scheduler::take_results() {
  ended_.clear();
  failed_.clear();
  const std::span<RunningAnswer* const> decoding = decoding_;
  for (size_t i = 0; i < decoding.size(); i += kLogitRows) {
    take_rows(static_cast<int64_t>(i), decoding.subspan(i, std::min<size_t>(kLogitRows, decoding.size() - i)));
  }
  auto end_row = static_cast<int64_t>(decoding.size());
  for (Reader& reader : readers_) {
    end_row += reader.n_rows;
    reader.answer->tell_reading(reader.n_rows, 1);
    remember(reader);
    if (!reader.answer->reading()) take_rows(end_row - 1, {&reader.answer, 1});
  }
}

void Scheduler::take_rows(int64_t first_row, std::span<RunningAnswer* const> answers) {
  Forward& forward = parts_.session.forward;
  const auto vocab_size = static_cast<size_t>(forward.config().vocab_size);
  const auto logits = forward.logits(first_row, static_cast<int64_t>(answers.size()));
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto row = logits.subspan(i * vocab_size, vocab_size);
    if (answers[i]->has_unfed()) continue;  // it was sampled before
    // The workspace is ours between two steps: a constraint may mask the row where it lies.
    try {
      if (!answers[i]->take({const_cast<float*>(row.data()), vocab_size})) ended_.push_back(answers[i]);
    } catch (const Error&) {  // of this answer: what the others have of the step stands
      failed_.emplace_back(answers[i], std::current_exception());
    }
  }
}

std::unique_ptr<RunningAnswer> Scheduler::remove(RunningAnswer& answer) {
  answer.drop_sequence();
  const auto at = std::find_if(running_.begin(), running_.end(), [&](const auto& a) { return a.get() == &answer; });
  std::unique_ptr<RunningAnswer> removed = std::move(*at);
  running_.erase(at);
  return removed;
}

// Whoever sees an answer end finds it counted, its calls known, and its place free.
void Scheduler::end_answers() {
  Answers over;
  for (RunningAnswer* answer : ended_) {
    const Usage& usage = answer->usage();
    {
      const std::lock_guard lock(mutex_);
      stats_.prompt_tokens += static_cast<uint64_t>(usage.prompt_tokens);
      stats_.cached_tokens += static_cast<uint64_t>(usage.cached_tokens);
      stats_.answer_tokens += static_cast<uint64_t>(usage.answer_tokens);
    }
    settler_.add(*answer);
    over.push_back(remove(*answer));
  }
  publish();
  for (const auto& answer : over) answer->tell_end();
}

void Scheduler::before_layer(int layer) {
  const auto& keep_going = parts_.session.keep_going;
  if (stopping_ || (keep_going && !keep_going())) fail(Fault::interrupted, "the service was interrupted");
  if (settler_.working() && wanted_) fail(Fault::interrupted, "somebody waits");
  if (readers_left()) fail(Fault::interrupted, "the request was cancelled");
  const double part = static_cast<double>(layer) / parts_.session.forward.config().n_layers;
  for (const Reader& reader : readers_) reader.answer->tell_reading(reader.n_rows, part);
}

void Scheduler::count(double seconds, int64_t n_decoded, int64_t n_read) {
  const auto second = static_cast<int64_t>(now_ns() / 1'000'000'000);
  auto& [when, tokens] = lately_[static_cast<size_t>(second) % lately_.size()];
  if (std::exchange(when, second) != second) tokens = 0;
  tokens += static_cast<uint64_t>(n_decoded);
  const double read_share = static_cast<double>(n_read) / static_cast<double>(n_read + n_decoded);
  const std::lock_guard lock(mutex_);
  stats_.prefilled_tokens += static_cast<uint64_t>(n_read);
  stats_.prefill_s += seconds * read_share;
  stats_.decode_s += seconds * (1 - read_share);
}

void Scheduler::publish() {
  Stats engine = parts_.session.base;
  engine.cache = parts_.session.experts.cache_stats();
  engine.io = parts_.session.experts.io_stats();
  engine.stages = parts_.session.forward.profile().times;
  storage_.note_missing_drives(engine.io.missing_drives);
  const auto second = static_cast<int64_t>(now_ns() / 1'000'000'000);
  uint64_t tokens = 0;
  for (const auto& [when, n] : lately_) tokens += second - when <= kLatelySeconds ? n : 0;
  const std::lock_guard lock(mutex_);
  stats_.engine = std::move(engine);
  stats_.sessions_in_memory = store_.n_stops();
  stats_.session_bytes_in_memory = store_.bytes();
  if (const SessionFolder* folder = store_.folder()) {
    stats_.session_files = folder->n_files();
    stats_.session_bytes_on_disk = folder->bytes();
  }
  stats_.n_running = static_cast<int>(running_.size());
  stats_.tok_per_s = static_cast<double>(tokens) / kLatelySeconds;
}

}  // namespace flashmoe
