// Ctrl-C in a chat: a wish to stop what is going on. SIGTERM: a wish to end.
#pragma once

namespace flashmoe {

// The third Ctrl-C that nobody has taken kills, as usual.
void catch_chat_signals();

bool take_interrupt();     // Ctrl-C since the last call
bool interrupt_pending();  // without taking it
bool termination_seen();

// What the terminal is set back to when a signal kills.
void remember_terminal();

}  // namespace flashmoe
