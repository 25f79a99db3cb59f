// How the reports of benchmarks name what they are about.
#pragma once

#include <string>

#include "flashmoe/engine.h"

namespace flashmoe {

inline constexpr size_t kNameColumns = 16;

// Rows of a name and a value, the value cut where the line would be longer than a terminal's.
class Rows {
 public:
  void row(const char* name, const std::string& value);
  void line(const std::string& line) { text_ += line + "\n"; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string describe_model(const ModelReport& model);  // "35b.gguf, 19.6 GB, mostly Q4_K"
std::string describe_machine(int n_threads, const std::string& kernels, bool exact);
std::string describe_version();  // "0.1.0 (393589150a1c)"
const char* source_commit();     // that was built, with "-dirty" behind it if files differed; may be empty

}  // namespace flashmoe
