#include "models/pickle.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <stdexcept>

#include "models/pickle_objects.h"

namespace spqr::pickle {
namespace {

// Checkpoints have a few thousand values, quantized ones a few hundred thousand; a value takes far more
// memory than the byte that may ask for it.
constexpr std::size_t kMostBytes = 64U << 20;
constexpr std::size_t kMostValues = 1U << 20;

// What names and strings of a file of unknown origin look like in a message.
std::string shown(std::string_view text) {
  std::string result;
  for (const char c : text.substr(0, 80)) result += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > 80 ? result + "..." : result;
}

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  Pickle run() {
    while (result_.root == nullptr) {
      at_ = position_;
      const auto op = number<std::uint8_t>();
      if (!constant(op) && !text(op) && !container(op) && !memory(op) && !object(op)) refuse(op);
      if (result_.values.size() + stack_.size() > kMostValues)
        fail(fmt::format("has more than {} values, which no checkpoint needs", kMostValues));
    }
    result_.bytes = position_;
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: the pickle at byte {} {}", where_, at_, what));
  }

  [[noreturn]] void refuse(std::uint8_t op) const {
    const std::string_view name = refused_opcode(op);
    if (name.empty()) fail(fmt::format("has no opcode but 0x{:02x}: not a PyTorch file, or damaged?", op));
    fail(fmt::format("uses {}, which tensors do not need: it is refused, and nothing was run", name));
  }

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > bytes_.size() - position_ || position_ + count > kMostBytes)
      fail(fmt::format("needs {} bytes where {} are left: incomplete download?", count,
                       bytes_.size() - position_));
    position_ += static_cast<std::size_t>(count);
    return bytes_.subspan(position_ - static_cast<std::size_t>(count), static_cast<std::size_t>(count));
  }

  template <typename T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string string(std::uint64_t length) {
    const auto taken = take(length);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  // Up to a line end.
  std::string line() {
    std::string result;
    for (char c = number<char>(); c != '\n'; c = number<char>()) result += c;
    return result;
  }

  void push(decltype(Value::data) data) {
    result_.values.push_back({std::move(data)});
    stack_.push_back(&result_.values.back());
  }

  // The topmost value, which has to be one and not a mark.
  Value* top() {
    if (stack_.empty() || stack_.back() == nullptr) fail("takes a value where there is none");
    return stack_.back();
  }
  Value* pop() {
    Value* value = top();
    stack_.pop_back();
    return value;
  }

  // All above the last mark, which goes too.
  std::vector<const Value*> pop_to_mark() {
    std::size_t begin = stack_.size();
    while (begin > 0 && stack_[begin - 1] != nullptr) --begin;
    if (begin == 0) fail("ends a group that was not begun");
    std::vector<const Value*> values(stack_.begin() + static_cast<std::ptrdiff_t>(begin), stack_.end());
    stack_.resize(begin - 1);
    return values;
  }

  // A little-endian two's complement number of any length.
  std::int64_t integer(std::size_t length) {
    const auto taken = take(length);
    if (length > 8) fail(fmt::format("has a number of {} bytes, more than 64 bits", length));
    std::uint64_t value = 0;
    if (length > 0 && std::to_integer<unsigned>(taken.back()) >= 0x80U) value = ~std::uint64_t{0};
    for (std::size_t i = length; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(taken[i]);
    return static_cast<std::int64_t>(value);
  }

  double real() {  // big-endian
    std::uint64_t bits = 0;
    for (const std::byte byte : take(8)) bits = bits << 8 | std::to_integer<std::uint64_t>(byte);
    return std::bit_cast<double>(bits);
  }

  // Each group of opcodes says whether the opcode is one of its own.
  bool constant(std::uint8_t op);
  bool text(std::uint8_t op);
  bool container(std::uint8_t op);
  bool memory(std::uint8_t op);
  bool object(std::uint8_t op);
  void append(std::span<const Value* const> items);
  void set_items(std::span<const Value* const> items);
  void push_global(const std::string& name);
  void call_global();
  void ignore_state();
  void remember(std::uint32_t key) { memo_[key] = top(); }
  void recall(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail(fmt::format("asks for value {}, which was not stored", key));
    stack_.push_back(found->second);
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::size_t at_ = 0;  // of the opcode
  Pickle result_;
  std::vector<Value*> stack_;  // nullptr: a mark
  std::map<std::uint32_t, Value*> memo_;
};

bool Machine::constant(std::uint8_t op) {
  switch (op) {
    case 'N':  // NONE
      push({});
      return true;
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      push(op == 0x88);
      return true;
    case 'J':  // BININT
      push(std::int64_t{number<std::int32_t>()});
      return true;
    case 'K':  // BININT1
      push(std::int64_t{number<std::uint8_t>()});
      return true;
    case 'M':  // BININT2
      push(std::int64_t{number<std::uint16_t>()});
      return true;
    case 0x8a:  // LONG1
      push(integer(number<std::uint8_t>()));
      return true;
    case 0x8b:  // LONG4
      push(integer(number<std::uint32_t>()));
      return true;
    case 'G':  // BINFLOAT
      push(real());
      return true;
    default:
      return false;
  }
}

bool Machine::text(std::uint8_t op) {
  switch (op) {
    case 'U':   // SHORT_BINSTRING
    case 0x8c:  // SHORT_BINUNICODE
      push(string(number<std::uint8_t>()));
      return true;
    case 'T':  // BINSTRING
    case 'X':  // BINUNICODE
      push(string(number<std::uint32_t>()));
      return true;
    case 0x8d:  // BINUNICODE8
      push(string(number<std::uint64_t>()));
      return true;
    default:
      return false;
  }
}

void Machine::append(std::span<const Value* const> items) {
  auto* list = std::get_if<Sequence>(&top()->data);
  if (list == nullptr) fail("appends to what is no list");
  list->items.insert(list->items.end(), items.begin(), items.end());
}

void Machine::set_items(std::span<const Value* const> items) {
  auto* dict = std::get_if<Dict>(&top()->data);
  if (dict == nullptr || items.size() % 2 != 0)
    fail("sets items of what is no dictionary, or keys without values");
  for (std::size_t i = 0; i < items.size(); i += 2) dict->items.emplace_back(items[i], items[i + 1]);
}

bool Machine::container(std::uint8_t op) {
  switch (op) {
    case '(':  // MARK
      stack_.push_back(nullptr);
      return true;
    case ')':  // EMPTY_TUPLE
    case ']':  // EMPTY_LIST
      push(Sequence{});
      return true;
    case '}':  // EMPTY_DICT
      push(Dict{});
      return true;
    case 't':  // TUPLE
    case 'l':  // LIST
      push(Sequence{pop_to_mark()});
      return true;
    case 0x85:    // TUPLE1
    case 0x86:    // TUPLE2
    case 0x87: {  // TUPLE3
      std::vector<const Value*> items(op - 0x84U);
      for (std::size_t i = items.size(); i-- > 0;) items[i] = pop();
      push(Sequence{std::move(items)});
      return true;
    }
    case 'd': {  // DICT
      const auto items = pop_to_mark();
      push(Dict{});
      set_items(items);
      return true;
    }
    case 'a': {  // APPEND
      const Value* item = pop();
      append({&item, 1});
      return true;
    }
    case 'e':  // APPENDS
      append(pop_to_mark());
      return true;
    case 's': {  // SETITEM
      const Value* value = pop();
      const std::array<const Value*, 2> item{pop(), value};
      set_items(item);
      return true;
    }
    case 'u':  // SETITEMS
      set_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

bool Machine::memory(std::uint8_t op) {
  switch (op) {
    case 'q':  // BINPUT
      remember(number<std::uint8_t>());
      return true;
    case 'r':  // LONG_BINPUT
      remember(number<std::uint32_t>());
      return true;
    case 0x94:  // MEMOIZE
      remember(static_cast<std::uint32_t>(memo_.size()));
      return true;
    case 'h':  // BINGET
      recall(number<std::uint8_t>());
      return true;
    case 'j':  // LONG_BINGET
      recall(number<std::uint32_t>());
      return true;
    default:
      return false;
  }
}

void Machine::push_global(const std::string& name) {
  if (!is_known_global(name)) {
    fail(fmt::format(
        "names {}, which is not one of the few things that tensors need: it is refused, and nothing "
        "was run",
        shown(name)));
  }
  push(Global{name});
}

void Machine::call_global() {
  const Value* arguments = pop();
  const Value* function = pop();
  const auto* list = arguments->as<Sequence>();
  const auto* global = function->as<Global>();
  if (list == nullptr || global == nullptr) fail("calls what is no function, or without arguments");
  auto result = call(global->name, *list);
  if (std::holds_alternative<std::monostate>(result))
    fail(fmt::format("calls {} with arguments that it does not take", global->name));
  push(std::move(result));
}

// State of an object: of dictionaries (state_dict's _metadata), which say the same without it.
void Machine::ignore_state() {
  const Value* state = pop();
  if (state->as<Dict>() == nullptr || top()->as<Dict>() == nullptr) fail("gives state to what has none");
}

bool Machine::object(std::uint8_t op) {
  switch (op) {
    case 0x80:  // PROTO
      if (const auto protocol = number<std::uint8_t>(); protocol < 2 || protocol > 5)
        fail(fmt::format("is of protocol {}, expected 2 to 5", protocol));
      return true;
    case 0x95:  // FRAME
      number<std::uint64_t>();
      return true;
    case '.':  // STOP
      result_.root = pop();
      return true;
    case 'c': {  // GLOBAL
      const std::string module = line();
      push_global(module + "." + line());
      return true;
    }
    case 0x93: {  // STACK_GLOBAL
      const Value* name = pop();
      const Value* module = pop();
      if (name->as<std::string>() == nullptr || module->as<std::string>() == nullptr)
        fail("names something by what is no string");
      push_global(*module->as<std::string>() + "." + *name->as<std::string>());
      return true;
    }
    case 'R':  // REDUCE
      call_global();
      return true;
    case 'b':  // BUILD
      ignore_state();
      return true;
    case 'Q': {  // BINPERSID
      auto storage = storage_of(*pop());
      if (std::holds_alternative<std::monostate>(storage)) fail("refers to what is no storage of numbers");
      push(std::move(storage));
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

Pickle load(std::span<const std::byte> bytes, const std::string& where) {
  return Machine(bytes, where).run();
}

}  // namespace spqr::pickle
