#include "serve/answering.h"

#include <fmt/format.h>

#include <algorithm>

namespace flashmoe {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Between two looks at whether the client is there.
constexpr milliseconds kGlance{50};
// Proxies and clients give up on a connection that is silent for long.
constexpr milliseconds kSilence{5000};
// Between two comments on progress.
constexpr milliseconds kProgressPause{500};

// What waiting and reading are told as; empty for other events.
std::string comment(const AnswerEvent& event) {
  if (event.kind == AnswerEvent::Kind::waiting) return fmt::format(": waiting behind {} requests\n\n", event.done);
  if (event.kind == AnswerEvent::Kind::reading) {
    return fmt::format(": reading {} of {} tokens\n\n", event.done, event.total);
  }
  return {};
}

}  // namespace

Answering::Answering(Service& service, const Asked& asked) {
  for (Request request : asked.requests) {
    for (size_t i = 0; i < asked.choices_per_prompt; ++i, ++request.generate.sampling.seed) {
      answers_.push_back(service.submit(request));
    }
  }
  n_open_ = answers_.size();
}

std::optional<std::pair<size_t, AnswerEvent>> Answering::next(milliseconds patience) {
  // Several choices share the time; each is looked at in turn, and waited for even if they are many.
  const milliseconds each = std::max(milliseconds(1), patience / static_cast<int64_t>(std::max<size_t>(1, n_open_)));
  for (size_t looked = 0; looked < answers_.size(); ++looked) {
    const size_t at = turn_++ % answers_.size();
    if (answers_[at] == nullptr) continue;
    std::optional<AnswerEvent> event = answers_[at]->next(each);
    if (!event) continue;
    if (event->kind == AnswerEvent::Kind::done) {
      answers_[at].reset();
      --n_open_;
    }
    return std::pair(at, std::move(*event));
  }
  return {};
}

std::optional<std::vector<Collected>> collect(Answering& answering, size_t n_choices, const KeepOn& keep_on) {
  std::vector<Collected> choices(n_choices);
  while (!answering.finished()) {
    if (!keep_on()) return {};
    if (const auto event = answering.next(kGlance)) choices[event->first].add(event->second);
  }
  return choices;
}

bool stream(Exchange& exchange, Answering& answering, int64_t prompt_tokens, const KeepOn& keep_on,
            const Write& write) {
  if (!write(exchange.begin(prompt_tokens))) return false;
  auto told = Clock::now();
  while (!answering.finished()) {
    std::string out;
    try {
      if (!keep_on()) return false;
      if (const auto event = answering.next(kGlance)) {
        out = exchange.event(event->first, event->second);
        if (out.empty() && Clock::now() - told >= kProgressPause) out = comment(event->second);
      }
    } catch (...) {
      write(exchange.failure(api_error_of(std::current_exception())));
      return true;
    }
    if (out.empty() && Clock::now() - told >= kSilence) out = kStillHere;
    if (out.empty()) continue;
    if (!write(out)) return false;
    told = Clock::now();
  }
  return write(exchange.end());
}

}  // namespace flashmoe
