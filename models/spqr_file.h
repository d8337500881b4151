// The .spqr file: a safetensors file that holds all that is needed to run a model. Byte-exact: FORMAT.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/linear.h"
#include "models/checkpoint.h"
#include "models/safetensors.h"

namespace spqr {

// How a file came to be; the JSON texts are objects and are kept as they are given.
struct SpqrFileInfo {
  std::string config_json;
  TokenizerFiles tokenizer_files;
  std::string quantization_json = "{}";  // every option, calibration source, results per matrix, tool version
};

struct SpqrOpenOptions {
  bool mmap = true;     // false: read into memory
  bool verify = false;  // check every tensor's checksum
};

// One weight of the file: "model.layers.0.self_attn.q_proj" (module name, without ".weight").
struct SpqrFileModule {
  std::string name;
  Linear linear;          // bias included, widened to f32 by the reader if stored otherwise
  std::string perm_name;  // of the permutation it uses; empty: none
};

class SpqrFile {
 public:
  // Checks all that kernels rely on, for which header, outliers and permutations are read, but neither codes
  // nor statistics. Throws std::runtime_error: file, tensor, expected, found, what to do.
  static SpqrFile open(const std::filesystem::path& path, const SpqrOpenOptions& options);
  // The same checks on bytes already at hand, which start at a multiple of 64; `name` is what errors call
  // them.
  static SpqrFile parse(FileBytes bytes, const std::filesystem::path& name);
  ~SpqrFile();
  SpqrFile(SpqrFile&&) noexcept;
  SpqrFile& operator=(SpqrFile&&) noexcept;

  const std::filesystem::path& path() const;
  std::size_t file_bytes() const;
  const SpqrFileInfo& info() const;
  const std::vector<SpqrFileModule>& modules() const;
  const SpqrFileModule* find_module(std::string_view name) const;
  std::span<const std::uint32_t> perm(std::string_view perm_name) const;
  // Plain (norm) tensors by full name, "model.norm.weight"; nullopt where there is none.
  std::optional<TensorView> find_tensor(std::string_view name) const;
  // All that is in the container, in the file's order.
  const std::vector<SafetensorsTensor>& tensors() const;
  // Of all that it holds, the tensors through their own: XXH3-64, 16 lower-case hexadecimal digits.
  std::string checksum() const;
  // Checks every tensor's checksum; throws naming the first that differs.
  void verify() const;
  // Keeps the file in memory (FileBytes::lock).
  void lock() const;

 private:
  struct State;
  explicit SpqrFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Writes a file tensor by tensor: the temporary file `path`.partial grows as modules are added, with a
// journal of what is in it, so that an interrupted quantization can resume; finish() writes header and
// checksums and renames. Memory: one tensor.
class SpqrFileWriter {
 public:
  // resume: continue with an existing partial file whose `fingerprint` (of model, options, tool version) is
  // the same, throw if it differs. Otherwise an existing partial file is replaced.
  SpqrFileWriter(std::filesystem::path path, std::string fingerprint, bool resume);
  ~SpqrFileWriter();  // keeps the partial file if something resumable is in it; else removes it

  bool has(std::string_view module_or_tensor) const;  // already there (resumed)
  // What was added, read back, for work that goes on from it. Throws std::invalid_argument where it is not
  // there.
  PackedMatrix read_packed(const std::string& module) const;
  std::vector<std::uint32_t> read_perm(const std::string& module) const;  // of its input; empty: none
  // A packed weight with the permutation its input is gathered by ("" and empty: none). The same perm_name
  // may be given again with the same contents and is stored once.
  void add_packed(const std::string& module, const PackedMatrix& matrix, const std::string& perm_name,
                  std::span<const std::uint32_t> perm);
  void add_dense(const std::string& name,
                 const TensorView& tensor);  // full tensor name, ".weight" or ".bias" included
  // Report of a module or block as a JSON text, kept in the journal and returned by notes() after a resume.
  void note(const std::string& key, const std::string& json);
  std::vector<std::pair<std::string, std::string>> notes() const;
  void checkpoint();  // everything so far is on disk and will be resumed from
  void finish(const SpqrFileInfo& info);
  // What writing a file of so much data takes on disk at most: finish() copies where the file is small or the
  // header long.
  static std::uint64_t most_on_disk(std::uint64_t data_bytes, std::uint64_t header_bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace spqr
