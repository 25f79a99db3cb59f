#include "chat/signals.h"

#include <termios.h>
#include <unistd.h>

#include <csignal>

#include "interrupt.h"
#include "terminal.h"

namespace flashmoe {
namespace {

volatile std::sig_atomic_t n_interrupts = 0;
volatile std::sig_atomic_t n_terminations = 0;
volatile std::sig_atomic_t has_terminal = 0;
termios terminal_before;

void die(int signal) {
  if (has_terminal != 0) tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

extern "C" void note_chat_signal(int signal) {
  note_ending_signal(signal);
  if (signal == SIGINT) {
    n_interrupts = n_interrupts + 1;
    if (n_interrupts >= 3) die(signal);
  } else {
    n_terminations = n_terminations + 1;
    if (n_terminations >= 2) die(signal);
  }
}

void handle(int signal) {
  struct sigaction action = {}, before = {};
  action.sa_handler = note_chat_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, nullptr, &before);
  if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);  // under nohup it stays ignored
}

}  // namespace

void catch_chat_signals() {
  give_up_writing_when(interrupt_pending);
  handle(SIGINT);
  handle(SIGTERM);
  handle(SIGHUP);
}

bool take_interrupt() {
  const bool seen = n_interrupts != 0;
  n_interrupts = 0;
  return seen;
}

bool interrupt_pending() { return n_interrupts != 0 || n_terminations != 0; }
bool termination_seen() { return n_terminations != 0; }

void remember_terminal() { has_terminal = tcgetattr(STDIN_FILENO, &terminal_before) == 0 ? 1 : 0; }

}  // namespace flashmoe
