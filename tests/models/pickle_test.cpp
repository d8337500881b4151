// Pickles made by hand: what is understood, what is refused and how, and that no bytes do more than throw.
#include "models/pickle.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "tests/models/files.h"

using namespace spqr;
using pickle::Dict;
using pickle::Pickle;
using pickle::Sequence;
using pickle::Value;

namespace {

// Loads a copy, so that a read past the end is one past an allocation.
Pickle load(const std::string& bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  return pickle::load(std::as_bytes(std::span(copy)), "x.bin");
}

std::string b(std::initializer_list<int> bytes) {
  std::string text;
  for (const int byte : bytes) text += static_cast<char>(byte);
  return text;
}

const std::string kProtocol = b({0x80, 2});

std::string error(const std::string& body) {
  return message_of([&] { load(kProtocol + body); });
}

std::string word(const std::string& text) {
  return "X" + bytes_of(static_cast<std::uint32_t>(text.size())) + text;
}

std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

std::string small(int number) {
  return b({'K', number});
}

std::string pair_of(int one, int other) {
  return small(one) + small(other) + b({0x86});
}

// A persistent id of `elements` under key "0".
std::string storage(const std::string& type, const std::string& elements) {
  return "(" + word("storage") + global("torch", type) + word("0") + word("cpu") + elements + "tQ";
}
const std::string kStorage = storage("FloatStorage", small(4));

std::string tensor(const std::string& store, const std::string& offset, const std::string& shape,
                   const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + store + offset + shape + strides + b({0x89}) +
         global("collections", "OrderedDict") + ")RtR";
}

const std::string kTensor = tensor(kStorage, small(0), pair_of(2, 2), pair_of(2, 1));

std::int64_t integer(const Value* value) {
  REQUIRE(value->as<std::int64_t>() != nullptr);
  return *value->as<std::int64_t>();
}

}  // namespace

TEST_CASE("pickle: numbers, strings and containers") {
  const std::string minus = b({0x8a, 2, 0, 0x80});                    // LONG1 -32768
  const std::string large = b({0x8a, 6, 0, 0, 0, 0, 0, 1});           // LONG1 2^40
  const std::string four = b({0x8b, 1, 0, 0, 0, 5});                  // LONG4 5
  const std::string half = b({'G', 0x3f, 0xe0, 0, 0, 0, 0, 0, 0});    // BINFLOAT 0.5
  const std::string medium = b({'M', 0, 0x80}) + "J" + bytes_of(-1);  // BININT2 32768, BININT -1
  const std::string strings =
      b({'U', 2}) + "ab" + b({0x8c, 1}) + "c" + word("") + b({0x8d, 1}) + std::string(7, '\0') + "d";
  const Pickle loaded = load(kProtocol + "(" + small(255) + medium + minus + large + four + b({0x8a, 0}) +
                             half + "N" + b({0x88, 0x89}) + strings + "l.rest");
  const auto& items = loaded.root->as<Sequence>()->items;
  REQUIRE(items.size() == 15);
  const std::vector<std::int64_t> numbers{255, 32768, -1, -32768, std::int64_t{1} << 40, 5, 0};
  for (std::size_t i = 0; i < numbers.size(); ++i) CHECK(integer(items[i]) == numbers[i]);
  CHECK(*items[7]->as<double>() == 0.5);
  CHECK(items[8]->as<std::monostate>() != nullptr);
  CHECK(*items[9]->as<bool>() == true);
  CHECK(*items[10]->as<bool>() == false);
  CHECK(*items[11]->as<std::string>() == "ab");
  CHECK(*items[12]->as<std::string>() == "c");
  CHECK(items[13]->as<std::string>()->empty());
  CHECK(*items[14]->as<std::string>() == "d");
  CHECK(load(kProtocol + "N.more").bytes == 4);

  // A dictionary by SETITEM and SETITEMS, of lists by APPEND and APPENDS, one of them remembered.
  const Pickle nested = load(kProtocol + "}" + word("a") + "]" + b({'q', 7}) + small(1) + "as(" + word("b") +
                             b({'h', 7}) + word("c") + "](" + small(2) + small(3) + "eu.");
  const auto* dict = nested.root->as<Dict>();
  REQUIRE(dict != nullptr);
  CHECK(dict->find("a") == dict->find("b"));
  CHECK(integer(dict->find("a")->as<Sequence>()->items.at(0)) == 1);
  CHECK(integer(dict->find("c")->as<Sequence>()->items.at(1)) == 3);
  CHECK(dict->find("d") == nullptr);
}

TEST_CASE("pickle: tensors, with the names of later protocols too") {
  for (const std::string& wrapped :
       {kTensor, global("torch._utils", "_rebuild_parameter") + "(" + kTensor + b({0x88}) + ")tR",
        global("torch._utils", "_rebuild_parameter_with_state") + "(" + kTensor + b({0x88}) + ")}tR",
        b({0x95, 0, 0, 0, 0, 0, 0, 0, 0}) + kTensor + b({0x94})}) {
    const Pickle loaded = load(kProtocol + wrapped + ".");
    const auto* found = loaded.root->as<pickle::Tensor>();
    REQUIRE(found != nullptr);
    CHECK(found->storage.dtype == "F32");
    CHECK(found->storage.key == "0");
    CHECK(found->storage.elements == 4);
    CHECK(found->shape == std::vector<std::int64_t>{2, 2});
    CHECK(found->strides == std::vector<std::int64_t>{2, 1});
  }
  const Pickle later =
      load(b({0x80, 4}) + b({0x8c, 5}) + "torch" + b({0x8c, 7}) + "float16" + b({0x93}) + ".");
  REQUIRE(later.root->as<pickle::Global>() != nullptr);
  CHECK(later.root->as<pickle::Global>()->name == "torch.float16");
  // State of a dictionary is left out.
  const Pickle state =
      load(kProtocol + global("collections", "OrderedDict") + ")R}" + word("_metadata") + "}sb.");
  CHECK(state.root->as<Dict>()->items.empty());
}

TEST_CASE("pickle: names that tensors do not need are refused, and nothing runs") {
  const TemporaryDirectory directory;
  const std::string victim = (directory.path() / "victim").string();
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"os", "system"},
                                                        {"posix", "system"},
                                                        {"builtins", "eval"},
                                                        {"torch.storage", "_load_from_bytes"},
                                                        {"torch", "load"},
                                                        {"collections", "OrderedDict.__init__"},
                                                        {"torch.FloatStorage", "x"},
                                                        {"", ""},
                                                        {"numpy.core.multiarray", "_reconstruct"},
                                                        {"torch\\u002e_utils", "_rebuild_tensor_v2"}}) {
    const std::string call = global(module, name) + "(" + word("touch " + victim) + "tR.";
    CHECK(contains(error(call), "names " + module + "." + name + ", which is not one of the few things"));
    const std::string stacked = word(module) + word(name) + b({0x93}) + ".";
    CHECK(contains(error(stacked), "names " + module + "." + name));
  }
  CHECK_FALSE(std::filesystem::exists(victim));
  CHECK(contains(error(global("a\x1b[31m", std::string(200, 'b'))), "names a?[31m.bbb"));
}

TEST_CASE("pickle: opcodes that tensors do not need are refused by name") {
  const std::vector<std::pair<int, std::string>> refused{
      {'0', "POP"},        {'1', "POP_MARK"},   {'2', "DUP"},     {'F', "FLOAT"},      {'I', "INT"},
      {'L', "LONG"},       {'P', "PERSID"},     {'S', "STRING"},  {'V', "UNICODE"},    {'B', "BINBYTES"},
      {'i', "INST"},       {'o', "OBJ"},        {0x81, "NEWOBJ"}, {0x92, "NEWOBJ_EX"}, {0x82, "EXT1"},
      {0x84, "EXT4"},      {'g', "GET"},        {'p', "PUT"},     {0x8f, "EMPTY_SET"}, {0x90, "ADDITEMS"},
      {0x91, "FROZENSET"}, {0x96, "BYTEARRAY8"}};
  for (const auto& [code, name] : refused)
    CHECK(contains(error("N" + b({code})), "uses " + name + ", which"));
  CHECK(contains(error("x"), "0x78"));
  CHECK(contains(message_of([] { load(b({0x80, 1}) + "N."); }), "protocol 1"));
  CHECK(contains(message_of([] { load(b({0x80, 6}) + "N."); }), "protocol 6"));
}

TEST_CASE("pickle: what does not fit together is refused") {
  const std::string dict = global("collections", "OrderedDict");
  const std::vector<std::string> bad{"",
                                     ".",
                                     "(.",
                                     "t",
                                     "l",
                                     "d",
                                     "a",
                                     "e",
                                     "u",
                                     "s",
                                     "b",
                                     "Q",
                                     "R",
                                     b({0x85}),
                                     b({0x93}),
                                     "N(a",
                                     "Na",
                                     "Nu",
                                     "(t(NNt",
                                     "]N",
                                     "](NNe(",
                                     "}(Nu",
                                     "}N(u.",
                                     "(Nd",
                                     "NNs",
                                     "}NNb",
                                     "NRN",
                                     b({'h', 0}),
                                     b({'j', 0, 0, 0, 0}),
                                     b({'q', 0}),
                                     "(" + b({'q', 0}),
                                     b({0x94}),
                                     "NN" + b({0x93}),
                                     dict + "NR",
                                     dict + "(NtR",
                                     "N)R",
                                     global("torch", "FloatStorage") + ")R",
                                     global("torch", "float16") + ")R",
                                     global("torch", "Size") + "(NtR",
                                     global("torch", "Size") + ")R",
                                     b({0x8a, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}) + ".",
                                     b({0x8b, 255, 255, 255, 255}),
                                     b({'X', 255, 255, 255, 255}) + "a",
                                     b({0x8d, 255, 255, 255, 255, 255, 255, 255, 255}),
                                     "NQ",
                                     ")Q",
                                     storage("float32", small(4)) + ".",
                                     storage("FloatStorage", "N") + ".",
                                     storage("FloatStorage", "J" + bytes_of(-1)) + "."};
  for (std::size_t i = 0; i < bad.size(); ++i) {
    CAPTURE(i);
    CHECK(error(bad[i]) != "no error");
  }
  CHECK(error(kTensor + ".") == "no error");
  const std::string huge = b({0x8a, 8, 255, 255, 255, 255, 255, 255, 255, 127});
  const std::string huge_pair = huge + huge + b({0x86});
  std::string nine = "(";
  for (int i = 0; i < 9; ++i) nine += small(1);
  nine += "t";
  const std::vector<std::string> tensors{
      tensor(kStorage, small(1), pair_of(2, 2), pair_of(2, 1)),  // ends past the storage
      tensor(kStorage, small(0), pair_of(2, 2), pair_of(3, 1)),  // likewise
      tensor(kStorage, small(0), pair_of(5, 1), pair_of(0, 0)),  // more elements than there are
      tensor(kStorage, small(0), huge_pair, pair_of(0, 0)),      // overflow
      tensor(kStorage, huge, pair_of(2, 2), pair_of(2, 1)),
      tensor(kStorage, small(0), pair_of(2, 2), huge_pair),
      tensor(kStorage, "J" + bytes_of(-1), pair_of(2, 2), pair_of(2, 1)),
      tensor(kStorage, small(0), pair_of(2, 2), small(1) + b({0x85})),
      tensor(kStorage, small(0), "N", pair_of(2, 1)),
      tensor("N", small(0), pair_of(2, 2), pair_of(2, 1)),
      tensor(kStorage, small(0), nine, nine)};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(i);
    CHECK(contains(error(tensors[i] + "."), "_rebuild_tensor_v2 with arguments that it does not take"));
  }
}

TEST_CASE("pickle: cycles and endless input do no harm") {
  // A list in itself; hundreds of thousands of nested ones; more values than any checkpoint has.
  const Pickle cycle = load(kProtocol + "]" + b({'q', 0, 'h', 0}) + "a.");
  CHECK(cycle.root->as<Sequence>()->items.at(0) == cycle.root);
  std::string deep(400000, ']');
  deep += std::string(399999, 'a');
  CHECK(load(kProtocol + deep + ".").root != nullptr);
  CHECK(contains(error(std::string(1200000, 'N')), "more than 1048576 values"));
  CHECK(contains(error(std::string(1200000, '(')), "more than 1048576 values"));
}

TEST_CASE("pickle: no truncation is accepted, and no changed byte does more than throw") {
  const std::string whole = kProtocol + global("collections", "OrderedDict") + ")R(" + word("w") + kTensor +
                            word("v") + "](" + small(1) + b({'G', 0, 0, 0, 0, 0, 0, 0, 0}) + "e" +
                            b({'q', 3}) + "u.";
  CHECK(load(whole).root->as<Dict>()->items.size() == 2);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(message_of([&] { load(whole.substr(0, length)); }) != "no error");
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = whole;
      changed[i] = static_cast<char>(byte);
      message_of([&] { load(changed); });
    }
  }
}
