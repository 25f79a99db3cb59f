// The two containers a tiny model can be written to; each returns the path to open.
#pragma once

#include <string>

#include "support/tiny_model.h"

namespace flashmoe {

std::string write_tiny_gguf(const std::string& folder, const TinyModelOptions& options);
std::string write_tiny_hugging_face(const std::string& folder, const TinyModelOptions& options);

}  // namespace flashmoe
