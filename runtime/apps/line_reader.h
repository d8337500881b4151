// Lines that a person types: edited and remembered at a terminal, plain from anything else.
#pragma once

#include <memory>
#include <string>

#include "runtime/apps/typed_input.h"

namespace spqr {

class LineReader {
 public:
  // edited: standard input and output are terminals.
  explicit LineReader(bool edited);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // One line without its newline, valid UTF-8 (what is not becomes U+FFFD); a pasted text may have several.
  // The prompt is shown only where lines are edited; colour sequences in it stand between pairs of '\1', each
  // before some other character. interrupted: a signal came (see interrupted()), and what was typed is
  // forgotten.
  Typed read(const std::string& prompt, std::string& line);
  // As interrupted(), with a Ctrl-C that has been typed since.
  bool interrupted_meanwhile();
  // Puts a text into the history, if lines are edited.
  void remember(const std::string& text);

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // null: not edited
};

}  // namespace spqr
