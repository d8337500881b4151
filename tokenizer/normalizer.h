// Rewrites text before it is split into words: the "normalizer" of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer/json_fields.h"

namespace spqr {

class Normalizer {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    virtual std::string apply(std::string text) const = 0;
  };

  Normalizer() = default;  // leaves text as it is

  // Understands Sequence, NFC, NFD, NFKC, NFKD, Prepend and Replace (of a string). Throws std::runtime_error
  // naming another type.
  static Normalizer parse(const Json& description, const std::string& where);

  // `text` is valid UTF-8; so is the result.
  std::string apply(std::string text) const;
  // Without Prepend: what an added token that is looked for in normalized text looks like there.
  std::string apply_inside(std::string text) const;

 private:
  void add(const Json& description, const std::string& where, int depth);

  struct Entry {
    std::shared_ptr<const Step> step;
    bool only_at_front = false;
  };
  std::vector<Entry> steps_;
};

}  // namespace spqr
