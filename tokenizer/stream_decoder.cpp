#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace spqr {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool special, bool at_start)
    : tokenizer_(tokenizer), special_(special), first_(at_start) {}

std::string StreamDecoder::push(std::int32_t id) {
  pending_ += tokenizer_.piece(id, special_);
  if (first_ && !pending_.empty()) {
    const std::string_view dropped = tokenizer_.dropped_prefix();
    if (!dropped.empty() && pending_.starts_with(dropped)) pending_.erase(0, dropped.size());
    first_ = false;
  }
  std::size_t whole = 0;  // bytes that cannot change any more
  while (whole < pending_.size()) {
    const Utf8Char character = utf8_char(pending_, whole);
    if (character.state == Utf8Char::State::incomplete) break;
    whole += character.bytes;
  }
  std::string text = repair_utf8(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text = repair_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace spqr
