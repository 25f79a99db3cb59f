#include "engine/settler.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "engine/generate.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostWaiting = 8;
constexpr size_t kMostBytes = size_t{1} << 20;  // of their requests; as JSON values they take many times as much

// Clients that send reasoning back do so for every answer.
bool sends_reasoning(const Json& messages) {
  return std::any_of(messages.begin(), messages.end(),
                     [](const Json& message) { return message.is_object() && message.contains("reasoning_content"); });
}

}  // namespace

void Settler::add(RunningAnswer& answer) {
  Json chat = answer.take_chat();
  const size_t bytes = answer.prompt().chat_bytes;
  if (!chat.is_object() || !answer.may_go_on() || bytes > kMostBytes) return;
  Json& messages = chat["messages"];
  messages.push_back(answer.message(sends_reasoning(messages)));
  waiting_.push_back({std::move(chat), answer.called_tools(), bytes});
  const auto all_bytes = [this] {
    return std::accumulate(waiting_.begin(), waiting_.end(), size_t{0},
                           [](size_t sum, const Answered& each) { return sum + each.bytes; });
  };
  while (waiting_.size() > kMostWaiting || all_bytes() > kMostBytes) waiting_.pop_front();
}

// What two prompts that go on in different ways have in common.
std::vector<int32_t> Settler::beginning_of_next(const Answered& answered) const {
  std::vector<int32_t> prompts[2];
  for (size_t i = 0; i < 2; ++i) {
    Json chat = answered.chat;
    const char* text = i == 0 ? "a" : "1";
    if (answered.called_tools) {
      chat["messages"].push_back(
          {{"role", "tool"}, {"tool_call_id", chat["messages"].back()["tool_calls"][0]["id"]}, {"content", text}});
    } else {
      chat["messages"].push_back({{"role", "user"}, {"content", text}});
    }
    prompts[i] = chat_ids(chat, parts_);
  }
  const auto [end, other] = std::mismatch(prompts[0].begin(), prompts[0].end(), prompts[1].begin(), prompts[1].end());
  const int64_t n = std::min<int64_t>(end - prompts[0].begin(), parts_.session.context_tokens);
  prompts[0].resize(static_cast<size_t>(n));
  prompts[0].resize(static_cast<size_t>(parts_.session.forward.blocks().last_end(prompts[0])));
  return std::move(prompts[0]);
}

int64_t Settler::read(std::span<const int32_t> ids, Sequence& sequence, SessionStore& store) {
  const auto n = static_cast<int64_t>(ids.size());
  if (n == 0 || store.knows(ids)) return 0;
  const int64_t known = store.resume(ids, sequence);
  prefill(parts_.session.forward, sequence, ids.subspan(static_cast<size_t>(known)), 0, parts_.session.prefill_chunk,
          [](int64_t) {});
  store.keep(ids, sequence);
  return n - known;
}

int64_t Settler::settle(Sequence& sequence, SessionStore& store) {
  Answered answered = std::move(waiting_.back());
  waiting_.pop_back();
  working_ = true;
  int64_t n_read = 0;
  try {
    n_read = read(beginning_of_next(answered), sequence, store);
  } catch (const Error& error) {
    if (error.fault() == Fault::interrupted) waiting_.push_front(std::move(answered));
  }
  working_ = false;
  return n_read;
}

}  // namespace flashmoe
