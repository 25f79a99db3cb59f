#include "chat/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string_view>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLookMs = 50;  // how often the clock and the user are asked
// What was left running in the background may hold the pipes open: the command itself has ended.
constexpr auto kAfterExit = std::chrono::milliseconds(200);

struct Pipe {
  std::array<int, 2> ends = {-1, -1};
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw Error(Fault::io, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
    }
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(size_t end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
};

// The beginning and the end of a stream that may be longer than what is kept of it.
class Excerpt {
 public:
  explicit Excerpt(size_t most) : most_(most) {}

  void add(const char* bytes, size_t n) {
    total_ += n;
    const size_t to_head = std::min(n, most_ / 2 - std::min(head_.size(), most_ / 2));
    head_.append(bytes, to_head);
    tail_.append(bytes + to_head, n - to_head);
    if (tail_.size() > 2 * most_) tail_.erase(0, tail_.size() - most_);
  }

  std::string text() const {
    const size_t most_tail = most_ - most_ / 2;
    if (tail_.size() <= most_tail && total_ == head_.size() + tail_.size()) return head_ + tail_;
    const std::string tail = tail_.substr(tail_.size() - most_tail);
    return fmt::format("{}\n[{} bytes left out]\n{}", head_, total_ - head_.size() - tail.size(), tail);
  }

 private:
  size_t most_, total_ = 0;
  std::string head_, tail_;
};

pid_t spawn(const std::vector<std::string>& argv, int folder, Pipe& in, Pipe& out, Pipe& err) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addfchdir_np(&actions, folder);
  posix_spawn_file_actions_adddup2(&actions, in.ends[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], 2);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, words[0], &actions, &attributes, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) throw Error(Fault::io, fmt::format("cannot start {}: {}", argv[0], std::strerror(error)));
  return child;
}

// Not reaped yet, so that its process group cannot become another's.
bool has_ended(pid_t child) {
  siginfo_t info = {};
  return ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
}

// Moves bytes both ways once; a stream that has ended is closed.
void move_bytes(Pipe& in, std::string_view& input, Pipe& out, Excerpt& out_text, Pipe& err, Excerpt& err_text) {
  pollfd ready[] = {{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}, {in.ends[1], POLLOUT, 0}};
  ::poll(ready, 3, kLookMs);
  char piece[16384];
  const auto take = [&](Pipe& pipe, Excerpt& text, const pollfd& of) {
    if (of.revents == 0) return;
    const ssize_t n = ::read(pipe.ends[0], piece, sizeof(piece));
    if (n > 0) text.add(piece, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) pipe.close(0);
  };
  take(out, out_text, ready[0]);
  take(err, err_text, ready[1]);
  if (ready[2].revents == 0) return;
  const ssize_t n = ::write(in.ends[1], input.data(), input.size());
  if (n > 0) input.remove_prefix(static_cast<size_t>(n));
  if (input.empty() || (n < 0 && errno != EINTR && errno != EAGAIN)) in.close(1);
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& argv, int folder_descriptor, const std::string& input,
                      const ChildLimits& limits, const std::function<bool()>& keep_going) {
  Pipe in, out, err;
  ::fcntl(in.ends[1], F_SETFL, O_NONBLOCK);
  const pid_t child = spawn(argv, folder_descriptor, in, out, err);
  in.close(0);
  out.close(1);
  err.close(1);
  std::string_view rest = input;
  if (rest.empty()) in.close(1);
  Excerpt out_text(limits.output_bytes), err_text(limits.output_bytes);
  ChildResult result;
  bool running = true;
  const Clock::time_point deadline = Clock::now() + std::chrono::seconds(limits.seconds);
  Clock::time_point ended;
  while (running || ((out.ends[0] >= 0 || err.ends[0] >= 0) && Clock::now() - ended < kAfterExit)) {
    move_bytes(in, rest, out, out_text, err, err_text);
    if (running && has_ended(child)) {
      running = false;
      ended = Clock::now();
    }
    if (!running || result.timed_out || result.stopped) continue;
    result.timed_out = Clock::now() >= deadline;
    result.stopped = !result.timed_out && !keep_going();
    if (result.timed_out || result.stopped) ::kill(-child, SIGKILL);
  }
  ::kill(-child, SIGKILL);  // what it left behind in its group
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.out = out_text.text();
  result.err = err_text.text();
  return result;
}

}  // namespace flashmoe
