// A Hugging Face checkpoint of one of the families below as the GGUF file that the usual converter makes of it, in F32.
#pragma once

#include <string>

namespace flashmoe {

enum class ConvertedForm {
  current,
  packed_rows,  // qwen3_next only: ssm_in holds the rows of in_proj_qkvz as they are, as the first converters left them
};

// `source`: a folder of model_type qwen3_next or qwen3_moe with experts one by one. Returns the path of the file.
std::string write_converted_gguf(const std::string& source, const std::string& folder, ConvertedForm form);

}  // namespace flashmoe
