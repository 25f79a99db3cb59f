// Files that appear whole or not at all, and stay so when the machine stops.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace flashmoe {

// Written as path + ".partial" and renamed by commit(); removed when destroyed before. Failures throw Error{io}.
class DurableFile {
 public:
  DurableFile(std::string path, uint64_t bytes);  // reserves the space
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(uint64_t offset, std::span<const std::byte> bytes);
  void commit();

 private:
  [[noreturn]] void complain(const char* what, int error) const;
  std::string path_, partial_;
  int fd_ = -1;
  int64_t arrived_ = 0;  // bytes up to here have been waited for
};

void write_durably(const std::string& path, const std::string& text);
// What the file holds, and its size, outlast a power cut from here on; of the folder, which names it has. Throw
// Error{io}. A file system that knows no such thing for folders is passed over, unless it has to be sure.
void sync_file(const std::string& path);
enum class Sync { if_possible, surely };
void sync_folder(const std::string& folder, Sync how);
}  // namespace flashmoe
