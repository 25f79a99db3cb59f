// The one exception type that leaves the library.
#pragma once

#include <stdexcept>
#include <string>

namespace flashmoe {

// What went wrong, in the terms of whoever has to mend it.
enum class Fault {
  usage,         // an option or argument cannot be honoured
  input,         // a file or text is malformed, incomplete or out of range
  unsupported,   // well-formed, but of a family or format this build does not run
  memory_floor,  // the budget is below what the model needs at least
  io,            // the operating system refused or failed to deliver bytes
  interrupted,   // a callback asked to stop
  busy,          // more is asked at once than the options allow; try again later
};

// Thrown only on the caller's thread. The message is one line (memory_floor: a table) that names the file, tensor or
// option, what was expected and what to do.
class Error : public std::runtime_error {
 public:
  // Control bytes in the message are shown as \xNN: names out of a file must not cut it short or steer a terminal.
  Error(Fault fault, const std::string& message);
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

}  // namespace flashmoe
