// Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP): the first asks for an end, the second makes one.
#pragma once

namespace flashmoe {

// From here on the first of these signals only sets a flag, and the second one kills as usual.
void catch_interrupts();
bool interrupted();

// What the shell sees of a command that a signal ended before its work was done: 128 and the signal's number, as of one
// that it killed.
int interrupted_exit_code();
void note_ending_signal(int signal);  // for handlers of others

}  // namespace flashmoe
