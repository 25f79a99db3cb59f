// A folder for one test, gone afterwards.
#pragma once

#include <string>
#include <string_view>

namespace flashmoe {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // The path of `name` inside.
  std::string operator/(std::string_view name) const;
  // Writes a file (and the folders on its way) and returns its path.
  std::string write(std::string_view name, std::string_view bytes) const;

 private:
  std::string path_;
};

// Whole files as bytes; these CHECK that the system obeys.
void write_bytes(const std::string& path, std::string_view bytes);
std::string read_bytes(const std::string& path);

}  // namespace flashmoe
