// The fields that say how to sample, which most APIs share.
#pragma once

#include "flashmoe/service.h"
#include "serve/request_fields.h"

namespace flashmoe {

inline constexpr int64_t kMostLogprobs = 20;  // likeliest tokens, as OpenAI has it

// temperature, top_p, top_k, min_p, penalties and seed. Temperature is 1 unless given, the seed random.
void read_sampling(const RequestFields& fields, SamplingOptions& sampling);

// `name`: a text or a list of texts that end the answer.
void read_stop(const RequestFields& fields, const char* name, GenerateOptions& generate);

// The first of `names` that is given: most tokens of the answer.
void read_max_tokens(const RequestFields& fields, std::initializer_list<const char*> names, GenerateOptions& generate);

}  // namespace flashmoe
