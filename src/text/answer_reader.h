// Sampled tokens -> reasoning, content and tool calls, each piece as soon as it is certain.
#pragma once

#include <optional>

#include "text/call_reader.h"
#include "text/text_stream.h"

namespace flashmoe {

struct AnswerPiece {
  enum class Kind { thinking, content, call };
  Kind kind = Kind::content;
  int call = 0;         // its number
  bool begins = false;  // the first piece of a call: `name` is set
  std::string name = {};
  std::string text = {};  // of a call: of its arguments' JSON
};

class AnswerReader {
 public:
  enum class Opening {
    plain,     // text is text, whatever it looks like
    content,   // the answer may begin with <think>
    thinking,  // the prompt ends in an open <think>
  };
  // `tools`: the request's definitions, or null. Stop texts end the content; they do nothing in reasoning and calls.
  AnswerReader(const Tokenizer& tokenizer, nlohmann::ordered_json tools, Opening opening,
               std::vector<std::string> stop);
  AnswerReader(const AnswerReader&) = delete;
  AnswerReader& operator=(const AnswerReader&) = delete;

  // The pieces that became certain with this token; valid until the next call. White space before the reasoning, around
  // its end and before calls belongs to none.
  const std::vector<AnswerPiece>& push(int32_t id);
  // The rest, when no more tokens come.
  const std::vector<AnswerPiece>& finish();

  bool thinking() const { return at_ == At::thinking; }
  bool stopped() const { return stopped_by_ >= 0; }
  const std::string& stop_text() const { return stop_[static_cast<size_t>(stopped_by_)]; }
  int n_whole_calls() const { return n_whole_calls_; }  // closed and well-formed
  bool between_calls() const { return n_calls_ > 0 && !call_; }

 private:
  enum class At { thinking, thought, content, call };
  void take(std::string_view text, bool last);
  bool step(bool last);
  bool think(bool last);
  bool tell(bool last);
  bool read_call(bool last);
  void emit(AnswerPiece::Kind kind, std::string_view text);

  TextStream stream_;
  nlohmann::ordered_json tools_;
  Opening opening_;
  std::vector<std::string> stop_;
  int stopped_by_ = -1;
  At at_;
  bool begun_ = false;  // something but white space came since the reasoning or content began
  std::string text_;    // not yet certain
  std::optional<CallReader> call_;
  int n_calls_ = 0, n_whole_calls_ = 0;
  std::vector<AnswerPiece> pieces_;
};

}  // namespace flashmoe
