// spqr-tokenize: text to token ids and back.
#include <fmt/format.h>

#include <fstream>

#include "models/checkpoint.h"
#include "models/spqr_file.h"
#include "runtime/apps/command_line.h"
#include "runtime/text_input.h"
#include "tokenizer/tokenizer.h"

namespace spqr {
namespace {

constexpr const char* kDescription =
    "Prints the token ids of a text, separated by spaces; with --decode the text of token ids.\n"
    "Special tokens written in the text are plain text unless --parse-special is given.\n";

// A .spqr file is a safetensors file, whose header opens with a brace after its length; no checkpoint of one
// file is.
bool is_spqr_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  char start[9] = {};
  return file.read(start, sizeof start) && start[8] == '{';
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& model,
                                          const std::filesystem::path& tokenizer) {
  const auto load = [&model](const TokenizerFiles& files) {
    std::unique_ptr<Tokenizer> loaded = load_tokenizer(files);
    if (loaded == nullptr) {
      throw std::runtime_error(
          fmt::format("{}: has no tokenizer; give one with --tokenizer", model.string()));
    }
    return loaded;
  };
  if (!std::filesystem::is_directory(model) && is_spqr_file(model)) {
    if (!tokenizer.empty()) throw UsageError("--tokenizer is for checkpoints; a .spqr file holds its own");
    return load(SpqrFile::open(model, {}).info().tokenizer_files);
  }
  return load(open_checkpoint(model, {tokenizer})->tokenizer_files());
}

// -p, or the file of -f; "-" and neither: standard input.
std::string read_input(const cxxopts::ParseResult& options) {
  if (options.count("prompt") > 0 && options.count("file") > 0) throw UsageError("give either -p or -f");
  if (options.count("prompt") > 0) return options["prompt"].as<std::string>();
  return read_text(options.count("file") > 0 ? options["file"].as<std::string>() : "-");
}

int tokenize(const cxxopts::ParseResult& options) {
  if (options.count("model") == 0) throw UsageError("-m is missing");
  const auto tokenizer =
      open_tokenizer(options["model"].as<std::string>(), options["tokenizer"].as<std::string>());
  const std::string input = read_input(options);
  if (options["decode"].as<bool>()) {
    print_text(tokenizer->decode(parse_token_ids(input, tokenizer->vocab_size(), "with --decode"),
                                 options["special"].as<bool>()));
    return kExitGood;
  }
  const EncodeOptions encode{.add_special = !options["no-bos"].as<bool>(),
                             .parse_special = options["parse-special"].as<bool>()};
  print(fmt::format("{}\n", fmt::join(tokenizer->encode(input, encode), " ")));
  return kExitGood;
}

}  // namespace
}  // namespace spqr

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-tokenize", spqr::kDescription);
  options.add_options()                                                                           //
      ("m,model", ".spqr file or checkpoint", cxxopts::value<std::string>(), "FILE")              //
      ("tokenizer", "tokenizer of a checkpoint that has none, or in place of its own",            //
       cxxopts::value<std::string>()->default_value(""), "FILE")                                  //
      ("f,file", "text (with --decode: ids) to read; -: standard input, also without -f and -p",  //
       cxxopts::value<std::string>(), "FILE")                                                     //
      ("p,prompt", "text (with --decode: ids)", cxxopts::value<std::string>(), "TEXT")            //
      ("decode", "ids, separated by white space, to text")                                        //
      ("special", "with --decode: show special tokens")                                           //
      ("parse-special", "recognise special tokens in the text")                                   //
      ("no-bos", "add no special tokens at the beginning and the end");
  return spqr::run_tool(argc, argv, options, spqr::tokenize);
}
