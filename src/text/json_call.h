// One tool call as a JSON object, {"name": NAME, "arguments": {...}}, while it is being written.
#pragma once

#include <string>
#include <string_view>

namespace flashmoe {

// The two members come in either order, with white space as JSON has it; there are no others.
class JsonCall {
 public:
  // Takes the text from where the last one was left. Returns how much of it was read: all, unless the object ended or
  // has a fault. The arguments' text that is now certain is appended to `arguments`; none is before name() is known.
  size_t take(std::string_view text, std::string& arguments);

  const std::string& name() const { return name_; }    // empty until the arguments have begun, too
  bool has_arguments() const { return has_whole_; }    // to their end: a JSON object
  bool ended() const { return at_ == At::end; }        // the closing brace was read
  const std::string& fault() const { return fault_; }  // why it cannot be read on; empty: nothing is wrong so far

 private:
  enum class At { opening, first_key, key, key_text, colon, value, name_text, arguments, behind, end };
  void step(char c);
  void begin_text(At at);
  void begin_value(char c);
  void read_text(char c);
  void end_text();
  void read_arguments(char c);
  void end_object();
  // Of a string that is open: whether it goes on behind c.
  bool goes_on(char c);

  At at_ = At::opening;
  std::string text_;  // of the string that is being read, with its quotes
  bool escaped_ = false, quoted_ = false;
  std::string key_, found_name_, name_;
  std::string arguments_, brackets_;  // as far as they were read; those of them that are open
  size_t n_given_ = 0;                // bytes of arguments_ that were handed out
  bool has_whole_ = false;
  std::string fault_;
};

}  // namespace flashmoe
