// Vocabularies for grammars, and answers drawn at random from what a grammar allows.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar.h"
#include "support/random.h"
#include "text/tokenizer.h"

namespace flashmoe {

// Each byte, then `texts`, then the added tokens of tool calls and the end token <|im_end|>.
std::shared_ptr<const TokenTrie> byte_tokens(const std::vector<std::string>& texts = {});
std::shared_ptr<const TokenTrie> tokens_of(const Tokenizer& tokenizer);
// n tokens: the bytes, pieces of words, JSON punctuation in all combinations that are common, UTF-8, long runs of
// spaces.
std::shared_ptr<const TokenTrie> many_tokens(int32_t n);
std::unique_ptr<Tokenizer> spark_tokenizer();

// Draws among the tokens that may come next, one at a time, until the answer ends; beyond `patience` tokens it ends as
// soon as it can. The bytes of the answer, added tokens as their text. Fails the test where no token is allowed.
std::string random_answer(const std::shared_ptr<const Grammar>& grammar, Random& random, int patience);

// Whether the text, written byte by byte, is a whole answer of a grammar over byte_tokens(). An added token's text is
// taken as that token.
bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text);

}  // namespace flashmoe
