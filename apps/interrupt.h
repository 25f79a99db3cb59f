// Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP): the first asks for an end, the second makes one.
#pragma once

namespace flashmoe {

// From here on the first of these signals only sets a flag, and the second one kills as usual.
void catch_interrupts();
bool interrupted();

}  // namespace flashmoe
