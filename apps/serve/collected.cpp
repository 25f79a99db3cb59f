#include "serve/collected.h"

namespace flashmoe {

void Collected::add(const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  switch (event.kind) {
    case Kind::thinking:
      thinking += event.text;
      break;
    case Kind::content:
      content += event.text;
      content_tokens.insert(content_tokens.end(), event.tokens.begin(), event.tokens.end());
      break;
    case Kind::tool_call: {
      const auto at = static_cast<size_t>(event.call);
      if (at >= calls.size()) calls.resize(at + 1);
      if (!event.call_id.empty()) calls[at].id = event.call_id;
      if (!event.name.empty()) calls[at].name = event.name;
      calls[at].arguments += event.text;
      break;
    }
    case Kind::done:
      reason = event.reason;
      stop_text = event.stop_text;
      usage = event.usage;
      break;
    case Kind::waiting:
    case Kind::reading:
      break;
  }
}

}  // namespace flashmoe
