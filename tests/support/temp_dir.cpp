#include "support/temp_dir.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/check.h"

namespace flashmoe {

namespace fs = std::filesystem;

TempDir::TempDir() : path_((fs::temp_directory_path() / "flashmoe-test-XXXXXX").string()) {
  CHECK(::mkdtemp(path_.data()) != nullptr);
}

TempDir::~TempDir() {
  std::error_code error;  // a folder left behind must not turn a failing test into an abort
  fs::remove_all(path_, error);
}

std::string TempDir::operator/(std::string_view name) const { return (fs::path(path_) / name).string(); }

std::string TempDir::write(std::string_view name, std::string_view bytes) const {
  const std::string path = *this / name;
  fs::create_directories(fs::path(path).parent_path());
  write_bytes(path, bytes);
  return path;
}

void write_bytes(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  CHECK(file.good());
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace flashmoe
