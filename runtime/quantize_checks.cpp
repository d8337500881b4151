#include "runtime/quantize_checks.h"

#include <fmt/ranges.h>

#include <set>
#include <stdexcept>

namespace spqr {
namespace {

std::unique_ptr<Tokenizer> load_named(const TokenizerFiles& files, const std::filesystem::path& where) {
  try {
    return load_tokenizer(files);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", where.string(), error.what()));
  }
}

}  // namespace

std::unique_ptr<Tokenizer> fitting_tokenizer(const Checkpoint& checkpoint, const ModelConfig& config,
                                             const std::filesystem::path& where) {
  std::unique_ptr<Tokenizer> tokenizer = load_named(checkpoint.tokenizer_files(), where);
  if (tokenizer != nullptr && tokenizer->vocab_size() > config.vocab_size) {
    throw std::runtime_error(
        fmt::format("{}: the tokenizer has {} tokens, but the model's embedding {} rows: they do not belong "
                    "together",
                    where.string(), tokenizer->vocab_size(), config.vocab_size));
  }
  return tokenizer;
}

std::vector<std::string> source_warnings(const Checkpoint& checkpoint, const Tokenizer* tokenizer,
                                         const QuantizeJob& job) {
  std::vector<std::string> warnings;
  if (tokenizer == nullptr) {
    warnings.push_back(fmt::format(
        "{}: has no tokenizer; the model will take and print token ids only (--tokenizer FILE gives it one)",
        job.model.string()));
  }
  std::set<std::string> types;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (tensor.is_quantized()) types.insert(tensor.stored_as);
  }
  if (!types.empty() && !is_dense(job.settings.scheme)) {
    warnings.push_back(
        fmt::format("{}: its weights are quantized already ({}), and quantizing twice loses quality: take "
                    "the model as F16, "
                    "BF16 or F32 where it is to be had",
                    job.model.string(), fmt::join(types, "; ")));
  }
  return warnings;
}

void require_other_file(const std::filesystem::path& out, const std::filesystem::path& model) {
  if (std::filesystem::is_directory(out))
    throw std::runtime_error(fmt::format("{}: is a directory, expected a file to write", out.string()));
  if (std::filesystem::exists(out) && !std::filesystem::is_regular_file(out))
    throw std::runtime_error(fmt::format("{}: is no regular file and cannot be replaced", out.string()));
  std::error_code error;
  if (std::filesystem::equivalent(out, model, error))
    throw std::runtime_error(fmt::format("{}: is the model itself; write another file", out.string()));
}

}  // namespace spqr
