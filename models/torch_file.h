// A file that torch.save wrote: its objects, read without running anything (models/pickle.h), and the numbers
// of its tensors, read when they are asked for. Both layouts:
//   zip      an archive of NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder
//   legacy   pickles of a magic number, protocol 1001, facts of the machine, the object and the storages'
//   keys;
//            then for each of these keys i64 elements and the elements
// Source: torch/serialization.py.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/file_bytes.h"
#include "models/pickle.h"

namespace spqr {

class TorchFile {
 public:
  // Throws std::runtime_error naming the file. Storages are checked to be there and as long as the objects
  // say.
  static TorchFile open(const std::filesystem::path& path);
  // The same on bytes already at hand; `where` names them in errors.
  static TorchFile parse(FileBytes bytes, const std::string& where);
  ~TorchFile();
  TorchFile(TorchFile&&) noexcept;
  TorchFile& operator=(TorchFile&&) noexcept;

  const pickle::Value& root() const;
  // Elements of a tensor of this file in row-major order, whatever its strides, little-endian as stored.
  // Throws std::runtime_error where the file is damaged. Not by several threads at once.
  std::vector<std::byte> read(const pickle::Tensor& tensor) const;

  struct State;

 private:
  explicit TorchFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Whether a file that begins with these bytes (at least 16, where it has them) is one of torch's.
bool is_torch_file(std::string_view start);

// Bytes of an element of a storage's dtype.
std::size_t torch_element_bytes(std::string_view dtype);

}  // namespace spqr
