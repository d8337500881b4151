// Turns tokens of a vocabulary back into bytes of text: the "decoder" of tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json_fields.h"

namespace spqr {

class TokenDecoder {
 public:
  // Understands Sequence, ByteLevel, ByteFallback, Fuse, Metaspace, Replace (of a string) and Strip (of one
  // character at the start, after Fuse). Throws std::runtime_error naming another type.
  static TokenDecoder parse(const Json& description, const std::string& where);

  // The bytes of one token; may be part of a character.
  std::string bytes(std::string_view token) const;
  // Removed once from the front of the whole text; empty: nothing.
  const std::string& dropped_prefix() const { return dropped_prefix_; }

 private:
  enum class Kind { byte_level, byte_fallback, replace };
  struct Step {
    Kind kind;
    std::string from;
    std::string to;
  };

  void add(const Json& description, const std::string& where, int depth);
  void add_strip(const Json& description, const std::string& where);
  void add_metaspace(const Json& description, const std::string& where);

  std::vector<Step> steps_;
  bool fused_ = false;
  std::string dropped_prefix_;
};

// The byte that a token such as "<0x0A>" stands for; -1: it is no such token.
int fallback_byte(std::string_view token);

}  // namespace spqr
