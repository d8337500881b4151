// A tokenizer put together from the parts that tokenizer.json names: added tokens, normalizer, pre-tokenizer,
// BPE model, decoder. GGUF metadata and vocab.json + merges.txt are read into the same parts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct BpeTokenizerParts {
  Normalizer normalizer;
  PreTokenizer pretokenizer;
  BpeModel model;
  TokenDecoder decoder;
  std::vector<AddedToken>
      added_tokens;  // sorted out by the tokenizer: the first of several with one text counts
  SpecialTokens defaults;
};

// `files`: the side files. Throws std::runtime_error where they are malformed or two added tokens share an
// id.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeTokenizerParts parts, const TokenizerFiles& files,
                                              const std::string& where);

// From the bytes of tokenizer.json.
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& bytes, const TokenizerFiles& files);
// From the ranks of LLaMA 3's tokenizer.model.
std::unique_ptr<Tokenizer> load_tiktoken(const std::string& bytes, const TokenizerFiles& files);
// From vocab.json and merges.txt: GPT-2's own format, byte-level.
std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& vocab, const std::string& merges,
                                                 const TokenizerFiles& files);

}  // namespace spqr
