#include "interrupt.h"

#include <array>
#include <csignal>

#include "terminal.h"

namespace flashmoe {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};  // Ctrl-C, a service manager, a terminal that was closed

volatile std::sig_atomic_t interrupt_seen = 0;
volatile std::sig_atomic_t ending_signal = SIGINT;

bool is_ignored(int signal) {
  struct sigaction action = {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

// What is ignored, as under nohup, stays so.
extern "C" void note_interrupt(int number) {
  interrupt_seen = 1;
  ending_signal = number;
  for (const int signal : kSignals) {
    if (!is_ignored(signal)) std::signal(signal, SIG_DFL);
  }
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = note_interrupt;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on
  sigemptyset(&action.sa_mask);
  give_up_writing_when(interrupted);
  for (const int signal : kSignals) {
    if (!is_ignored(signal)) sigaction(signal, &action, nullptr);
  }
}

bool interrupted() { return interrupt_seen != 0; }

int interrupted_exit_code() { return 128 + ending_signal; }

void note_ending_signal(int signal) { ending_signal = signal; }

}  // namespace flashmoe
