#include "engine/prompt.h"

#include "base/error.h"
#include "engine/chat_request.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostStops = 4;

// Whether the prompt leaves a <think> open for the answer to go on in.
AnswerReader::Opening opening_of(std::span<const int32_t> ids, const Tokenizer& tokenizer) {
  const auto think = tokenizer.id_of("<think>"), think_end = tokenizer.id_of("</think>");
  for (size_t i = ids.size(); i > 0 && !tokenizer.ends_turn(ids[i - 1]); --i) {
    if (think_end && ids[i - 1] == *think_end) break;
    if (think && ids[i - 1] == *think) return AnswerReader::Opening::thinking;
  }
  return AnswerReader::Opening::content;
}

// Behind the messages, the first of which many conversations share; else as far as whole blocks go.
std::vector<int64_t> stops_of(std::span<const int32_t> ids, const DeltaBlocks& blocks) {
  std::vector<int64_t> stops;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (blocks.ends_turn(ids[i])) stops.push_back(static_cast<int64_t>(i) + 1);
  }
  if (const int64_t end = blocks.last_end(ids); stops.empty() && end > 0) stops.push_back(end);
  if (stops.size() > kMostStops) stops.erase(stops.begin() + 1, stops.end() - (kMostStops - 1));
  return stops;
}

}  // namespace

std::vector<int32_t> chat_ids(const Json& chat, const EngineParts& parts) {
  const Tokenizer& tokenizer = *parts.session.tokenizer;
  const Json restored = parts.sampled_calls->restored(chat);
  if (restored == chat) return parts.chat_template->encode(chat, tokenizer);
  try {
    return parts.chat_template->encode(restored, tokenizer);
  } catch (const Error&) {  // a template that wants a result's call before it
    return parts.chat_template->encode(chat, tokenizer);
  }
}

Prompt read_prompt(const Request& request, const EngineParts& parts) {
  const Tokenizer* tokenizer = parts.session.tokenizer;
  if (tokenizer == nullptr) fail(Fault::unsupported, "this checkpoint has no tokenizer, so it cannot produce text");
  Prompt prompt;
  if (!request.chat_json.empty()) {
    if (parts.chat_template == nullptr) {
      fail(Fault::unsupported, "the checkpoint has no chat template; only plain text can be continued");
    }
    prompt.chat = parse_chat_request(request.chat_json);
    prompt.chat_bytes = request.chat_json.size();
    prompt.ids = chat_ids(prompt.chat, parts);
    if (const auto tools = prompt.chat.find("tools"); tools != prompt.chat.end()) prompt.tools = *tools;
    prompt.opening = opening_of(prompt.ids, *tokenizer);
  } else if (!request.text.empty()) {
    prompt.ids = tokenizer->encode(request.text, Marks::parse);
  } else {
    prompt.ids = request.ids;
  }
  if (prompt.ids.empty()) fail(Fault::input, "the prompt is empty");
  const int64_t vocab_size = parts.session.forward.config().vocab_size;
  for (const int32_t id : prompt.ids) {
    if (id >= 0 && id < vocab_size) continue;
    fail(Fault::input, "token id {} is out of range; this model has ids 0 to {}", id, vocab_size - 1);
  }
  prompt.stops = stops_of(prompt.ids, parts.session.forward.blocks());
  return prompt;
}

void check_room(const Prompt& prompt, const EngineParts& parts) {
  const auto n = static_cast<int64_t>(prompt.ids.size());
  if (n < parts.session.context_tokens) return;
  throw ContextExceeded(
      Fault::input, fmt::format("the prompt has {} tokens and an answer needs one more, but the context holds {}", n,
                                parts.session.context_tokens));
}

}  // namespace flashmoe
