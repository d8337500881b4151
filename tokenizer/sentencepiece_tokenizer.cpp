#include <fmt/core.h>
#include <sentencepiece_processor.h>

#include <mutex>
#include <stdexcept>
#include <utility>

#include "tokenizer/piece_tokenizer.h"
#include "tokenizer/token_decoder.h"

namespace spqr {
namespace {

using sentencepiece::SentencePieceProcessor;

constexpr const char* kFile = "tokenizer.model";

void check(const sentencepiece::util::Status& status) {
  if (!status.ok()) fail(kFile, fmt::format("the sentencepiece library reports: {}", status.ToString()));
}

std::unique_ptr<SentencePieceProcessor> load_processor(const std::string& model) {
  auto processor = std::make_unique<SentencePieceProcessor>();
  check(processor->LoadFromSerializedProto(model));
  return processor;
}

class LibrarySegmenter final : public Segmenter {
 public:
  explicit LibrarySegmenter(std::string model)
      : model_(std::move(model)), processor_(load_processor(model_)) {}

  void encode(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const override {
    std::vector<int> found;
    const SentencePieceProcessor& processor = at_start ? *processor_ : without_prefix();
    check(processor.Encode(absl::string_view(text.data(), text.size()), &found));
    ids.insert(ids.end(), found.begin(), found.end());
  }

  const SentencePieceProcessor& processor() const { return *processor_; }

 private:
  // The same model with normalizer_spec.add_dummy_prefix = false: in protobuf's wire format a message that is
  // appended is merged into the one before. Made when text that follows a special token first asks for it.
  const SentencePieceProcessor& without_prefix() const {
    std::call_once(once_,
                   [this] { without_prefix_ = load_processor(model_ + std::string("\x1A\x02\x18\x00", 4)); });
    return *without_prefix_;
  }

  std::string model_;
  std::unique_ptr<SentencePieceProcessor> processor_;
  mutable std::once_flag once_;
  mutable std::unique_ptr<SentencePieceProcessor> without_prefix_;
};

PieceKind kind_of(const SentencePieceProcessor& processor, int id) {
  if (processor.IsUnknown(id)) return PieceKind::unknown;
  if (processor.IsControl(id)) return PieceKind::control;
  if (processor.IsByte(id)) return PieceKind::byte;
  if (processor.IsUnused(id)) return PieceKind::unused;
  return PieceKind::normal;
}

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece_model(const std::string& bytes, const TokenizerFiles& files) {
  auto segmenter = std::make_unique<LibrarySegmenter>(bytes);
  const SentencePieceProcessor& processor = segmenter->processor();
  PieceTokenizerParts parts;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    Piece piece{processor.IdToPiece(id), kind_of(processor, id)};
    if (piece.kind == PieceKind::byte && fallback_byte(piece.text) < 0) {
      fail(kFile, fmt::format("piece {} '{}' is marked as a byte but names none", id, piece.text));
    }
    parts.pieces.push_back(std::move(piece));
  }
  std::vector<std::string> probe;
  check(processor.Encode("a", &probe));
  parts.drops_leading_space = !probe.empty() && probe.front().starts_with(kVisibleSpace);
  parts.defaults.roles = {.bos = processor.bos_id(),
                          .eos = processor.eos_id(),
                          .unk = processor.unk_id(),
                          .pad = processor.pad_id()};
  if (processor.eos_id() >= 0) parts.defaults.eos = {processor.eos_id()};
  if (processor.bos_id() >= 0) parts.defaults.prefix = {processor.bos_id()};
  // As transformers without a word to the contrary, and as Meta's program, which encodes what follows <s> as
  // the start of a text: what LLaMA 2 was trained to talk with.
  parts.starts_after_special = true;
  if (const auto config = files.find(std::string_view("tokenizer_config.json")); config != files.end()) {
    const Json json = parse_json_object(config->second, config->first);
    parts.starts_after_special = bool_field(json, "legacy", true, config->first);
  }
  parts.segmenter = std::move(segmenter);
  return make_piece_tokenizer(std::move(parts), files, kFile);
}

}  // namespace spqr
