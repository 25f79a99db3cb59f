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
    case Kind::tool_call:
      add_to_calls(calls, event);
      break;
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
