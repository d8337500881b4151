// Text sets of the SpQR paper's evaluation, as token windows.
// Source: arXiv 2306.03078, section 5; its published code for how lines are joined and windows are drawn.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/text_input.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct DatasetOptions {
  std::string name;  // wikitext2, ptb, ptb-new, c4, c4-new or text
  std::filesystem::path file;
  std::optional<DocumentRange> documents{};  // of the .jsonl files of c4 and c4-new
  std::int64_t window = 2048;                // tokens
  std::int64_t windows = 0;                  // at most this many; 0: all there are
};

struct TokenWindows {
  std::vector<std::vector<std::int32_t>> windows;  // each of options.window tokens
  std::int64_t tokens = 0;                         // of the whole text, before it was cut
};

// Names that load_windows takes.
const std::vector<std::string>& dataset_names();

// How a file is read: the text that is tokenized as one. Not for "c4", whose windows are drawn from single
// documents.
//   wikitext2: lines, each with its own "\n" (a blank line becomes ""), joined with "\n\n"
//   ptb: sentences without surrounding spaces, joined with "\n\n"        ptb-new: the same, joined with " "
//   c4-new: the first 1100 documents (or --documents), joined with " "   text: the file as it is
std::string dataset_text(const DatasetOptions& options);

// Consecutive windows without overlap, the last partial one dropped (c4: 256 random windows of documents that
// are long enough, drawn as the paper's code does; c4-new: at most 256). Throws std::runtime_error where
// there is no whole window.
TokenWindows load_windows(const DatasetOptions& options, const Tokenizer& tokenizer);

}  // namespace spqr
