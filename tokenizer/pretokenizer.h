// Splits text into the words within which a BPE model merges: the "pre_tokenizer" of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer/json_fields.h"

namespace spqr {

class PreTokenizer {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    // Appends the parts of `word` to `parts`; at_start: it begins where the whole text begins.
    virtual void split(std::string word, bool at_start, std::vector<std::string>& parts) const = 0;
  };

  PreTokenizer() = default;  // one word: the text

  // Understands Sequence, ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace and WhitespaceSplit as
  // Hugging Face's tokenizers defines them. Throws std::runtime_error naming another type.
  static PreTokenizer parse(const Json& description, const std::string& where);

  std::vector<std::string> split(std::string text, bool at_start) const;

 private:
  void add(const Json& description, const std::string& where, int depth);

  std::vector<std::shared_ptr<const Step>> steps_;
};

}  // namespace spqr
