#include "tokenizer/tokenizer.h"

#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/piece_tokenizer.h"

namespace spqr {

std::unique_ptr<Tokenizer> load_tokenizer(const TokenizerFiles& files) {
  const auto file = [&files](std::string_view name) -> const std::string* {
    const auto found = files.find(name);
    return found == files.end() ? nullptr : &found->second;
  };
  if (const std::string* json = file("tokenizer.json")) return load_tokenizer_json(*json, files);
  if (const std::string* model = file("tokenizer.model")) return load_sentencepiece_model(*model, files);
  if (const std::string* ranks = file("tokenizer.tiktoken")) return load_tiktoken(*ranks, files);
  if (const std::string* json = file("gguf_tokenizer.json")) return load_gguf_tokenizer(*json, files);
  if (const std::string* table = file("tokenizer.bin")) return load_llama2c_tokenizer(*table, files);
  const std::string* vocab = file("vocab.json");
  const std::string* merges = file("merges.txt");
  if (vocab != nullptr && merges != nullptr) return load_vocab_and_merges(*vocab, *merges, files);
  return nullptr;
}

}  // namespace spqr
