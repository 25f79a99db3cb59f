// A folder that paths cannot leave.
#pragma once

#include <string>
#include <vector>

namespace flashmoe {

// Every path is taken from the folder and resolved by the kernel beneath it: "..", absolute paths and symbolic links
// that lead out are refused, also when the folder changes meanwhile. Kernels before 5.6 follow no symbolic link at all.
// Everything throws Error{io} with the path as it was given.
class ConfinedFolder {
 public:
  // Throws Error{usage} if it is not a folder. `strict`: as kernels before 5.6 do it.
  explicit ConfinedFolder(const std::string& path, bool strict = false);
  ~ConfinedFolder();
  ConfinedFolder(const ConfinedFolder&) = delete;
  ConfinedFolder& operator=(const ConfinedFolder&) = delete;

  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }  // absolute, without links

  // At most `most_bytes` of a regular file; `total_bytes` is what it has.
  std::string read(const std::string& path, size_t most_bytes, size_t* total_bytes) const;
  // Replaces a regular file or makes one, with the folders on its way; it appears whole or not at all.
  void write(const std::string& path, const std::string& bytes) const;

  struct Entry {
    std::string name;
    char kind = '?';  // 'f'ile, 'd'irectory, 'l'ink, or other
    unsigned long long n_bytes = 0;
  };
  std::vector<Entry> list(const std::string& path) const;  // sorted by name

 private:
  int open(const std::string& path, int flags) const;  // -1: errno says why
  int open_folder(const std::string& path, bool make) const;
  std::string path_;
  int descriptor_ = -1;
  bool strict_;
};

}  // namespace flashmoe
