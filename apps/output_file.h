// A file that appears whole or not at all.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// Throws Error{io} if `path` cannot be written later on, and Error{usage} if it is one of the files that the same
// command reads: for saying so before hours of work.
void check_writable(const std::string& path, const std::vector<std::string>& read = {});

// Whether both are names of one file, which need not be there yet.
bool name_one_file(const std::string& a, const std::string& b);

// Written beside its final name and moved there by commit(); removed when destroyed before. What is not a regular file
// (a device, a pipe) is written directly. Every failure throws Error{io} with path and reason. A file that replaces
// another keeps that one's mode; a new one gets `mode`, less the umask.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path, unsigned mode = 0666);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view bytes);
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  std::string path_;
  std::string partial_path_;  // empty: written directly
  int descriptor_ = -1;
};

}  // namespace flashmoe
