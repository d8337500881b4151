// Python's pickles as torch.save writes them, read without running anything: an interpreter of the few
// opcodes that tensors, plain containers, numbers and strings need. Any other opcode, and any name of Python
// that is not listed in pickle_objects.cpp, is refused by name. Source: Python's Lib/pickletools.py
// (opcodes), torch/serialization.py and torch/_utils.py (objects).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace spqr::pickle {

struct Value;

struct Sequence {  // a tuple, list or torch.Size
  std::vector<const Value*> items;
};
struct Dict {  // in the order in which the keys came; a key may come twice
  std::vector<std::pair<const Value*, const Value*>> items;

  const Value* find(std::string_view key) const;  // the last of that name; nullptr: none
};
struct Global {  // "torch.FloatStorage"
  std::string name;
};
// Numbers that lie elsewhere in the file.
struct Storage {
  std::string dtype;  // as safetensors spells it: F32, BF16, I64, ...
  std::string key;
  std::int64_t elements = 0;
};
// Element (i, j, ...) is number offset + i strides[0] + j strides[1] + ... of its storage, which has it.
struct Tensor {
  Storage storage;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
};
struct SparseTensor {     // COO
  const Tensor* indices;  // I64 (dimensions, entries)
  const Tensor* values;   // (entries)
  std::vector<std::int64_t> shape;
};

struct Value {
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Sequence, Dict, Global, Storage,
               Tensor,
               SparseTensor>
      data;  // std::monostate: None

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
};

// Values refer to each other, in cycles too where the file says so: who walks them limits the depth.
struct Pickle {
  std::deque<Value> values;
  const Value* root = nullptr;
  std::size_t bytes = 0;  // of the pickle, which ends before the bytes do where more follows it
};

// Throws std::runtime_error naming `where`, with one sentence.
Pickle load(std::span<const std::byte> bytes, const std::string& where);

}  // namespace spqr::pickle
