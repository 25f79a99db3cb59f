#include "engine/session.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "engine/generate.h"
#include "engine/peak_memory.h"

namespace flashmoe {
namespace {

class SequenceSession final : public Session {
 public:
  explicit SequenceSession(const SessionParts& parts)
      : parts_(parts),
        sequence_(parts.forward.config(), parts.kv_format, parts.context_tokens, parts.budget),
        stats_(parts.base) {
    *parts_.in_use = true;
    parts_.forward.profile().times = {};
    parts_.forward.set_before_layer([this](int layer) { before_layer(layer); });
  }
  ~SequenceSession() override {
    parts_.forward.set_before_layer({});
    *parts_.in_use = false;
  }
  SequenceSession(const SequenceSession&) = delete;
  SequenceSession& operator=(const SequenceSession&) = delete;

  void prefill(std::span<const int32_t> ids) override;
  Generation generate(const GenerateOptions& options, const std::function<bool(std::string_view)>& on_text) override;
  std::vector<int32_t> decode(int64_t n) override;
  void logits(std::span<const int32_t> ids,
              const std::function<void(int64_t, std::span<const float>)>& on_row) override;

  int64_t whole_blocks(std::span<const int32_t> ids) const override {
    return parts_.forward.blocks().last_end(ids, sequence_.n_in_block());
  }
  int64_t n_tokens() const override { return static_cast<int64_t>(history_.size()); }
  Stats stats() const override;
  void set_timing(bool on) override { parts_.forward.profile().on = on; }

 private:
  void check_usable() const;
  void check_ids(std::span<const int32_t> ids) const;
  void take(std::span<const int32_t> ids);
  void catch_up();
  void before_layer(int layer);
  void feed(const char* what, std::span<const int32_t> ids, int64_t n_wanted,
            const std::function<void(int64_t)>& after_chunk);

  SessionParts parts_;
  Sequence sequence_;
  Stats stats_;
  std::vector<int32_t> history_;    // every token so far; the sequence may lag one behind
  std::vector<float> next_logits_;  // [vocab_size] after the last token; empty when it was not fed yet
  bool lost_ = false;               // the sequence is not what the history says
  bool interrupted_ = false;        // a step was, half-way
  Progress feeding_;                // of what feed() feeds; total 0 when it does not
  uint64_t feed_start_ns_ = 0;
  std::optional<uint64_t> prefill_start_ns_;  // until the first token
};

void SequenceSession::check_ids(std::span<const int32_t> ids) const {
  if (ids.empty()) fail(Fault::input, "the prompt is empty");
  const int64_t vocab_size = parts_.forward.config().vocab_size;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    fail(Fault::input, "token id {} at position {} is out of range; this model has ids 0 to {}", ids[i], i,
         vocab_size - 1);
  }
  const int64_t total = n_tokens() + static_cast<int64_t>(ids.size());
  if (total <= parts_.context_tokens) return;
  fail(Fault::input, "the prompt needs {} tokens, but the context holds {}; {}", total, parts_.context_tokens,
       parts_.context_tokens < parts_.forward.config().context_tokens ? "raise it with --ctx"
                                                                      : "that is all this model can take");
}

void SequenceSession::take(std::span<const int32_t> ids) {
  check_usable();
  check_ids(ids);
  history_.insert(history_.end(), ids.begin(), ids.end());
  next_logits_.clear();
}

void SequenceSession::check_usable() const {
  if (lost_) fail(Fault::usage, "this session was cut off by an error or an interruption; start a new one");
}

void SequenceSession::before_layer(int layer) {
  if (parts_.keep_going && !parts_.keep_going()) {
    interrupted_ = true;
    fail(Fault::interrupted, "interrupted");
  }
  if (feeding_.total == 0 || !parts_.on_progress) return;
  Progress now = feeding_;  // a chunk in progress counts by the layers it has passed
  const uint64_t chunk = std::min(now.total - now.done, static_cast<uint64_t>(parts_.prefill_chunk));
  now.done += chunk * static_cast<uint64_t>(layer) / static_cast<uint64_t>(parts_.forward.config().n_layers);
  now.seconds = seconds_since(feed_start_ns_);
  parts_.on_progress(now);
}

void SequenceSession::feed(const char* what, std::span<const int32_t> ids, int64_t n_wanted,
                           const std::function<void(int64_t)>& after_chunk) {
  const PhaseStats before = stats_.prompt;
  feeding_ = {what, Progress::Unit::tokens, 0, ids.size(), 0};
  feed_start_ns_ = now_ns();
  lost_ = true;  // unless all goes well
  flashmoe::prefill(parts_.forward, sequence_, ids, n_wanted, parts_.prefill_chunk, [&](int64_t done) {
    after_chunk(done);
    feeding_.done = static_cast<uint64_t>(done);
    stats_.prompt.tokens = stats_.prompt.timed_tokens = before.tokens + static_cast<uint64_t>(done);
    stats_.prompt.seconds = before.seconds + seconds_since(feed_start_ns_);
  });
  lost_ = false;
  feeding_.total = 0;
}

// Feeds what the sequence has not seen of the history, and keeps the logits that follow it.
void SequenceSession::catch_up() {
  prefill_start_ns_ = now_ns();
  const auto unseen = std::span<const int32_t>(history_).subspan(static_cast<size_t>(sequence_.n_tokens()));
  int64_t n_last = 0, n_before = 0;
  feed("reading prompt", unseen, 1, [&](int64_t done) {
    n_last = done - n_before;
    n_before = done;
  });
  const auto logits = parts_.forward.logits(n_last - 1, 1);
  next_logits_.assign(logits.begin(), logits.end());
}

void SequenceSession::prefill(std::span<const int32_t> ids) {
  take(ids);
  catch_up();
}

Generation SequenceSession::generate(const GenerateOptions& options,
                                     const std::function<bool(std::string_view)>& on_text) {
  if (parts_.tokenizer == nullptr)
    fail(Fault::unsupported, "this checkpoint has no tokenizer, so it cannot produce text");
  check_usable();
  if (history_.empty()) fail(Fault::usage, "generate needs a prompt first");
  if (next_logits_.empty()) {
    if (sequence_.n_tokens() == n_tokens()) fail(Fault::usage, "the model has ended its turn; add to the prompt first");
    catch_up();
  }
  const uint64_t start_ns = now_ns();
  const int64_t fed_before = sequence_.n_tokens();
  bool first = true;
  const auto on_token = [&] {
    lost_ = true;  // unless all goes well
    if (!first) return;
    first = false;
    if (prefill_start_ns_) stats_.ttft_s = seconds_since(*prefill_start_ns_);
    prefill_start_ns_.reset();
  };
  const Generation result = flashmoe::generate(parts_.forward, sequence_, *parts_.tokenizer, next_logits_, history_,
                                               options, on_text, on_token);
  lost_ = interrupted_;
  history_.insert(history_.end(), result.ids.begin(), result.ids.end());
  next_logits_.clear();
  stats_.decode.tokens += result.ids.size();
  stats_.decode.timed_tokens += static_cast<uint64_t>(sequence_.n_tokens() - fed_before);
  stats_.decode.seconds += seconds_since(start_ns);
  return result;
}

std::vector<int32_t> SequenceSession::decode(int64_t n) {
  check_usable();
  if (next_logits_.empty()) fail(Fault::usage, "decode needs a prompt first");
  if (n < 1) return {};
  if (n_tokens() + n > parts_.context_tokens) {
    fail(Fault::input, "{} tokens more do not fit: the context holds {}, {} are taken; raise it with --ctx", n,
         parts_.context_tokens, n_tokens());
  }
  lost_ = true;  // unless all goes well
  const uint64_t start_ns = now_ns();
  const auto on_token = [&](int64_t done) {
    if (done == 1 && prefill_start_ns_) stats_.ttft_s = seconds_since(*prefill_start_ns_);
    if (parts_.on_progress) {
      parts_.on_progress({"decoding", Progress::Unit::tokens, static_cast<uint64_t>(done), static_cast<uint64_t>(n),
                          seconds_since(start_ns)});
    }
  };
  std::span<const float> logits = next_logits_;
  const std::vector<int32_t> ids = flashmoe::decode(parts_.forward, sequence_, logits, n, on_token);
  stats_.decode.seconds += seconds_since(start_ns);
  prefill_start_ns_.reset();
  next_logits_.assign(logits.begin(), logits.end());
  history_.insert(history_.end(), ids.begin(), ids.end());
  stats_.decode.tokens += ids.size();
  stats_.decode.timed_tokens += ids.size();
  lost_ = false;
  return ids;
}

void SequenceSession::logits(std::span<const int32_t> ids,
                             const std::function<void(int64_t, std::span<const float>)>& on_row) {
  take(ids);
  const auto vocab_size = static_cast<size_t>(parts_.forward.config().vocab_size);
  const auto unseen = std::span<const int32_t>(history_).subspan(static_cast<size_t>(sequence_.n_tokens()));
  const auto skipped = static_cast<int64_t>(unseen.size() - ids.size());
  int64_t before = 0;
  feed("computing logits", unseen, static_cast<int64_t>(unseen.size()), [&](int64_t done) {
    for (int64_t row = before; row < done; row += kLogitRows) {
      const int64_t n = std::min(kLogitRows, done - row);
      const auto block = parts_.forward.logits(row - before, n);
      for (int64_t i = std::max<int64_t>(0, skipped - row); i < n; ++i) {
        on_row(row + i - skipped, block.subspan(static_cast<size_t>(i) * vocab_size, vocab_size));
      }
      if (row + n == static_cast<int64_t>(unseen.size())) {
        const auto last = block.last(vocab_size);
        next_logits_.assign(last.begin(), last.end());
      }
    }
    before = done;
  });
}

Stats SequenceSession::stats() const {
  Stats stats = stats_;
  stats.cache = parts_.experts.cache_stats();
  stats.io = parts_.experts.io_stats();
  stats.stages = parts_.forward.profile().times;
  stats.peak_bytes = peak_resident_set_bytes();
  return stats;
}

}  // namespace

std::unique_ptr<Session> make_session(const SessionParts& parts) {
  if (*parts.in_use) fail(Fault::usage, "this engine already has a session; one lives at a time");
  return std::make_unique<SequenceSession>(parts);
}

}  // namespace flashmoe
