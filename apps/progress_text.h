// How far something is, in words.
#pragma once

#include <string>

#include "flashmoe/options.h"

namespace flashmoe {

// "loading  1.20 GB of 3.40 GB  1.90 GB/s", "reading prompt  128 of 512 tokens  105 tok/s". `rate`: what Pace says, 0
// as long as it is not known.
std::string progress_text(const Progress& progress, double rate);

}  // namespace flashmoe
