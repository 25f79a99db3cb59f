// Ctrl-C and SIGTERM: the first asks for an end, the second makes one.
#pragma once

namespace flashmoe {

// From here on the first SIGINT or SIGTERM only sets a flag, and the second one kills as usual.
void catch_interrupts();
bool interrupted();

}  // namespace flashmoe
