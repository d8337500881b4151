// GGUF files name a pre-tokenizer instead of describing it: what the names mean.
#pragma once

#include <string>

#include "tokenizer/json_fields.h"

namespace spqr {

struct GgufPreTokenizer {
  Json normalizer;     // as in tokenizer.json; null: none
  Json pre_tokenizer;  // as in tokenizer.json
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// `name`: tokenizer.ggml.pre. Throws std::runtime_error, naming `where`, for one that is not known.
GgufPreTokenizer gguf_pretokenizer(const std::string& name, const std::string& where);

}  // namespace spqr
