#include "models/pickle_objects.h"

#include <algorithm>
#include <array>
#include <optional>

#include "models/stored_types.h"

namespace spqr::pickle {
namespace {

using Data = decltype(Value::data);

struct Opcode {
  unsigned char code;
  const char* name;
};
constexpr std::array kRefused{Opcode{'0', "POP"},
                              Opcode{'1', "POP_MARK"},
                              Opcode{'2', "DUP"},
                              Opcode{'F', "FLOAT"},
                              Opcode{'I', "INT"},
                              Opcode{'L', "LONG"},
                              Opcode{'P', "PERSID"},
                              Opcode{'S', "STRING"},
                              Opcode{'V', "UNICODE"},
                              Opcode{'B', "BINBYTES"},
                              Opcode{'C', "SHORT_BINBYTES"},
                              Opcode{0x8e, "BINBYTES8"},
                              Opcode{'i', "INST"},
                              Opcode{'o', "OBJ"},
                              Opcode{0x81, "NEWOBJ"},
                              Opcode{0x92, "NEWOBJ_EX"},
                              Opcode{0x82, "EXT1"},
                              Opcode{0x83, "EXT2"},
                              Opcode{0x84, "EXT4"},
                              Opcode{'g', "GET"},
                              Opcode{'p', "PUT"},
                              Opcode{0x8f, "EMPTY_SET"},
                              Opcode{0x90, "ADDITEMS"},
                              Opcode{0x91, "FROZENSET"},
                              Opcode{0x96, "BYTEARRAY8"},
                              Opcode{0x97, "NEXT_BUFFER"},
                              Opcode{0x98, "READONLY_BUFFER"}};

struct StorageType {
  std::string_view global;
  std::string_view dtype;
};
constexpr std::array kStorages{
    StorageType{"torch.FloatStorage", "F32"},     StorageType{"torch.HalfStorage", "F16"},
    StorageType{"torch.BFloat16Storage", "BF16"}, StorageType{"torch.DoubleStorage", "F64"},
    StorageType{"torch.LongStorage", "I64"},      StorageType{"torch.IntStorage", "I32"},
    StorageType{"torch.ShortStorage", "I16"},     StorageType{"torch.CharStorage", "I8"},
    StorageType{"torch.ByteStorage", "U8"},       StorageType{"torch.BoolStorage", "BOOL"}};

constexpr std::array<std::string_view, 9> kDtypes{"torch.float32", "torch.float16", "torch.bfloat16",
                                                  "torch.float64", "torch.int64",   "torch.int32",
                                                  "torch.int16",   "torch.int8",    "torch.uint8"};

// Extents or strides: numbers from 0.
std::optional<std::vector<std::int64_t>> extents(const Value& value) {
  const auto* sequence = value.as<Sequence>();
  if (sequence == nullptr) return std::nullopt;
  std::vector<std::int64_t> numbers;
  for (const Value* item : sequence->items) {
    const auto* number = item->as<std::int64_t>();
    if (number == nullptr || *number < 0) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

// Whether all elements lie in the storage, and no more than it has: none of them twice, in all but contrived
// strides.
bool fits(const Tensor& tensor) {
  const std::int64_t elements = element_count(tensor.shape);
  if (elements < 0 || elements > tensor.storage.elements || tensor.offset > tensor.storage.elements)
    return false;
  if (elements == 0) return true;
  std::int64_t last = tensor.offset;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    std::int64_t span = 0;
    if (__builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &span)) return false;
    if (__builtin_add_overflow(last, span, &last)) return false;
  }
  return last < tensor.storage.elements;
}

// (storage, offset, size, stride, requires_grad, backward_hooks[, metadata])
Data rebuild_tensor(const Sequence& arguments) {
  if (arguments.items.size() < 6 || arguments.items.size() > 7) return {};
  const auto* storage = arguments.items[0]->as<Storage>();
  const auto* offset = arguments.items[1]->as<std::int64_t>();
  auto shape = extents(*arguments.items[2]);
  auto strides = extents(*arguments.items[3]);
  if (storage == nullptr || offset == nullptr || *offset < 0 || !shape || !strides) return {};
  constexpr std::size_t kMostDimensions = 8;
  if (shape->size() != strides->size() || shape->size() > kMostDimensions) return {};
  Tensor tensor{*storage, *offset, std::move(*shape), std::move(*strides)};
  if (!fits(tensor)) return {};
  return tensor;
}

// (layout, (indices, values, size[, is_coalesced]))
Data rebuild_sparse_tensor(const Sequence& arguments) {
  if (arguments.items.size() != 2) return {};
  const auto* layout = arguments.items[0]->as<std::string>();
  const auto* parts = arguments.items[1]->as<Sequence>();
  if (layout == nullptr || *layout != "torch.sparse_coo" || parts == nullptr || parts->items.size() < 3)
    return {};
  const auto* indices = parts->items[0]->as<Tensor>();
  const auto* values = parts->items[1]->as<Tensor>();
  auto shape = extents(*parts->items[2]);
  if (indices == nullptr || values == nullptr || !shape) return {};
  const bool matching = indices->shape.size() == 2 && values->shape.size() == 1 &&
                        indices->shape[0] == static_cast<std::int64_t>(shape->size()) &&
                        indices->shape[1] == values->shape[0] && indices->storage.dtype == "I64";
  if (!matching) return {};
  return SparseTensor{indices, values, std::move(*shape)};
}

// Its first argument: (data, ...), as what the others say does not matter here.
Data first_of(const Sequence& arguments, std::size_t count) {
  if (arguments.items.size() != count || arguments.items[0]->as<Tensor>() == nullptr) return {};
  return *arguments.items[0]->as<Tensor>();
}

Data ordered_dict(const Sequence& arguments) {
  return arguments.items.empty() ? Data(Dict{}) : Data();
}

Data size(const Sequence& arguments) {
  if (arguments.items.size() != 1 || !extents(*arguments.items[0])) return {};
  return *arguments.items[0]->as<Sequence>();
}

Data layout(const Sequence& arguments) {
  if (arguments.items.size() != 1 || arguments.items[0]->as<std::string>() == nullptr) return {};
  return *arguments.items[0]->as<std::string>();
}

struct Function {
  std::string_view name;
  Data (*call)(const Sequence& arguments);
};
constexpr std::array kFunctions{
    Function{"torch._utils._rebuild_tensor_v2", rebuild_tensor},
    Function{"torch._utils._rebuild_sparse_tensor", rebuild_sparse_tensor},
    Function{"torch._utils._rebuild_parameter", [](const Sequence& a) { return first_of(a, 3); }},
    Function{"torch._utils._rebuild_parameter_with_state", [](const Sequence& a) { return first_of(a, 4); }},
    Function{"torch.serialization._get_layout", layout},
    Function{"torch.Size", size},
    Function{"collections.OrderedDict", ordered_dict}};

std::string_view dtype_of_storage(std::string_view global) {
  for (const StorageType& storage : kStorages) {
    if (storage.global == global) return storage.dtype;
  }
  return {};
}

}  // namespace

std::string_view refused_opcode(std::uint8_t code) {
  for (const Opcode& opcode : kRefused) {
    if (opcode.code == code) return opcode.name;
  }
  return {};
}

bool is_known_global(std::string_view name) {
  const auto is_name = [&](const Function& function) { return function.name == name; };
  return !dtype_of_storage(name).empty() || std::ranges::any_of(kFunctions, is_name) ||
         std::ranges::find(kDtypes, name) != kDtypes.end();
}

Data call(std::string_view name, const Sequence& arguments) {
  for (const Function& function : kFunctions) {
    if (function.name == name) return function.call(arguments);
  }
  return {};
}

// ("storage", type, key, location, elements[, None])
Data storage_of(const Value& id) {
  const auto* parts = id.as<Sequence>();
  if (parts == nullptr || parts->items.size() < 5 || parts->items.size() > 6) return {};
  const auto* kind = parts->items[0]->as<std::string>();
  const auto* type = parts->items[1]->as<Global>();
  const auto* key = parts->items[2]->as<std::string>();
  const auto* elements = parts->items[4]->as<std::int64_t>();
  if (kind == nullptr || *kind != "storage" || type == nullptr || key == nullptr) return {};
  if (elements == nullptr || *elements < 0) return {};
  if (parts->items.size() == 6 && parts->items[5]->as<std::monostate>() == nullptr) return {};
  const std::string_view dtype = dtype_of_storage(type->name);
  if (dtype.empty()) return {};
  return Storage{std::string(dtype), *key, *elements};
}

const Value* Dict::find(std::string_view key) const {
  for (std::size_t i = items.size(); i-- > 0;) {
    const auto* name = items[i].first->as<std::string>();
    if (name != nullptr && *name == key) return items[i].second;
  }
  return nullptr;
}

}  // namespace spqr::pickle
