#include "base/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <filesystem>
#include <fstream>

namespace flashmoe {

std::optional<std::string> read_small_file(const std::string& path, size_t most_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO would wait for a writer
  if (descriptor < 0) return std::nullopt;
  std::optional<std::string> content;
  struct stat status = {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
      static_cast<size_t>(status.st_size) <= most_bytes) {
    content.emplace(static_cast<size_t>(status.st_size), '\0');
    size_t done = 0;
    while (done < content->size()) {
      const ssize_t n = ::read(descriptor, content->data() + done, content->size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;  // cut short meanwhile
      done += static_cast<size_t>(n);
    }
    if (done < content->size()) content.reset();
  }
  ::close(descriptor);
  return content;
}

bool write_small_file(const std::string& path, const std::string& content) noexcept {
  namespace fs = std::filesystem;
  try {
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    const std::string partial = path + "." + std::to_string(::getpid()) + ".new";
    std::ofstream file(partial, std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    file.close();
    if (file) fs::rename(partial, path, error);
    if (file && !error) return true;
    fs::remove(partial, error);
  } catch (const std::exception&) {
    return false;
  }
  return false;
}

}  // namespace flashmoe
