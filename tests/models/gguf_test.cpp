#include "models/gguf.h"

#include <doctest/doctest.h>

#include <functional>
#include <limits>

#include "models/gguf_checkpoint.h"
#include "tests/models/gguf_builder.h"

using namespace spqr;
using namespace spqr::gguf;
using Json = nlohmann::json;

namespace {

// Copied, so that a read past the end is one past an allocation.
std::string parse_error(const std::string& bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  return message_of([&] { GgufFile::parse(std::as_bytes(std::span(copy)), "x.gguf"); });
}

// A valid file of two tensors, F32 (4) and Q8_0 (2, 32).
Builder valid() {
  Builder builder;
  builder.values = {{"general.architecture", text("llama")}, {"answer", i32(-42)}, {"ratio", f32(0.5F)}};
  builder.tensors = {{"a", {4}, 0, 0}, {"b", {32, 2}, 8, 32}};
  builder.data = std::string(32 + 2 * 34, '\0');
  return builder;
}

}  // namespace

TEST_CASE("GGUF: values of every kind, and both versions") {
  Builder builder = valid();
  const std::string nested = bytes_of(9U) + bytes_of(9U) + bytes_of<std::uint64_t>(2) + bytes_of(7U) +
                             bytes_of<std::uint64_t>(2) + std::string("\1\0", 2) + bytes_of(8U) +
                             bytes_of<std::uint64_t>(1) + string_of("x");
  builder.values.insert(builder.values.end(),
                        {{"u8", bytes_of(0U) + "\xff"},
                         {"i8", bytes_of(1U) + "\xff"},
                         {"u16", bytes_of(2U) + bytes_of<std::uint16_t>(65535)},
                         {"i16", bytes_of(3U) + bytes_of<std::int16_t>(-2)},
                         {"bool", bytes_of(7U) + "\1"},
                         {"u64", bytes_of(10U) + bytes_of(~std::uint64_t{0})},
                         {"i64", bytes_of(11U) + bytes_of(std::numeric_limits<std::int64_t>::min())},
                         {"f64", bytes_of(12U) + bytes_of(0.1)},
                         {"nested", nested}});
  for (const std::uint32_t version : {2U, 3U}) {
    builder.version = version;
    const std::string bytes = builder.bytes();
    const GgufFile file = GgufFile::parse(span_of(bytes), "x.gguf");
    CHECK(*file.find_value("general.architecture") == "llama");
    CHECK(*file.find_value("answer") == -42);
    CHECK(*file.find_value("ratio") == 0.5);
    CHECK(*file.find_value("u8") == 255);
    CHECK(*file.find_value("i8") == -1);
    CHECK(*file.find_value("u16") == 65535);
    CHECK(*file.find_value("i16") == -2);
    CHECK(*file.find_value("bool") == true);
    CHECK(*file.find_value("u64") == ~std::uint64_t{0});
    CHECK(*file.find_value("i64") == std::numeric_limits<std::int64_t>::min());
    CHECK(*file.find_value("f64") == 0.1);
    CHECK(*file.find_value("nested") == Json::array({{true, false}, {"x"}}));
    CHECK(file.find_value("absent") == nullptr);
    REQUIRE(file.find_tensor("b") != nullptr);
    CHECK(file.find_tensor("b")->shape == std::vector<std::int64_t>{2, 32});
    CHECK(file.find_tensor("b")->data.size() == 68);
  }
}

TEST_CASE("GGUF: what is not supported is refused by name") {
  const auto error = [](const std::function<void(Builder&)>& edit) {
    Builder builder = valid();
    edit(builder);
    return parse_error(builder.bytes());
  };
  CHECK(error([](Builder&) {}) == "no error");
  CHECK(contains(error([](Builder& b) { b.version = 1; }), "version 1"));
  CHECK(contains(error([](Builder& b) { b.version = 4; }), "version 4"));
  CHECK(contains(error([](Builder& b) { b.version = 0x03000000; }), "big-endian"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].type = 16; }), "tensor b is stored as IQ2_XXS"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].type = 5; }), "unknown element type 5"));
  CHECK(contains(parse_error("FUGG"), "no GGUF file"));
}

TEST_CASE("GGUF: damaged structure is refused with a sentence") {
  const auto error = [](const std::function<void(Builder&)>& edit) {
    Builder builder = valid();
    edit(builder);
    return parse_error(builder.bytes());
  };
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  CHECK(contains(error([](Builder& b) { b.values.push_back(b.values[1]); }), "answer appears twice"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].name = std::string("a"); }), "tensor a appears twice"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].offset = 0; }), "tensors a and b overlap"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].offset = 4; }), "aligned"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].offset = 64; }), "incomplete download"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].offset = kHuge - 31; }), "incomplete download"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].extents = {31, 2}; }), "rows of 31"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].extents = {32, 0}; }), "extent of 0"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].extents = {32, kHuge}; }), "extent of -1"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].extents = {std::uint64_t{1} << 62, 4}; }), "overflows"));
  CHECK(contains(error([](Builder& b) { b.tensors[0].extents = {std::uint64_t{1} << 61}; }), "overflows"));
  CHECK(contains(error([](Builder& b) {
                   b.tensors[1].extents = {1U << 31, 1U << 31, 1U << 31};
                 }),
                 "overflows"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].extents = {32, 1, 1, 1, 1}; }), "5 dimensions"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].extents = {}; }), "0 dimensions"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].name = std::string(65, 'n'); }), "65 bytes"));
  CHECK(contains(error([](Builder& b) { b.tensors[1].name = std::string("\xc3"); }), "not UTF-8"));
  for (const char* bad : {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf8\x88\x80\x80\x80", "a\xe2\x82"}) {
    CHECK(contains(error([&](Builder& b) { b.set("x", text(bad)); }), "not UTF-8"));
    CHECK(contains(error([&](Builder& b) { b.set(bad, i32(1)); }), "not UTF-8"));
  }
  CHECK(error([&](Builder& b) {
          b.set("x", text("\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
        }) == "no error");
  for (const std::uint32_t bad : {0U, 3U, 24U, 1U << 31}) {
    CHECK(contains(error([&](Builder& b) { b.set("general.alignment", u32(bad)); }), "power of two"));
  }
  CHECK(contains(error([](Builder& b) { b.set("general.alignment", i32(-32)); }), "unsigned"));
  CHECK(contains(error([](Builder& b) { b.set("general.alignment", text("32")); }), "unsigned"));
  CHECK(
      contains(error([](Builder& b) { b.set("x", bytes_of(13U) + bytes_of(0U)); }), "unknown value type 13"));
  CHECK(contains(error([](Builder& b) { b.set("x", bytes_of(7U) + "\2"); }), "0 or 1"));
  CHECK(contains(error([](Builder& b) { b.set("x", bytes_of(8U) + bytes_of(kHuge)); }), "bytes"));
  for (const std::uint64_t count : {std::uint64_t{1} << 20, std::uint64_t{1} << 61, kHuge}) {
    for (const std::uint32_t type : {0U, 4U, 8U, 9U, 12U}) {
      CHECK(contains(error([&](Builder& b) { b.set("x", bytes_of(9U) + bytes_of(type) + bytes_of(count)); }),
                     "incomplete"));
    }
  }
  CHECK(contains(
      error([](Builder& b) { b.set("x", bytes_of(9U) + bytes_of(99U) + bytes_of<std::uint64_t>(0)); }),
      "99"));
  std::string deep = bytes_of(9U);
  for (int i = 0; i < 1000; ++i) deep += bytes_of(9U) + bytes_of<std::uint64_t>(1);
  CHECK(contains(error([&](Builder& b) { b.set("x", deep); }), "nests arrays"));
  std::string counts = valid().bytes();
  CHECK(contains(parse_error(counts.replace(8, 8, bytes_of(kHuge))), "tensors cannot"));
  counts = valid().bytes();
  CHECK(contains(parse_error(counts.replace(16, 8, bytes_of(kHuge))), "metadata values cannot"));
}

TEST_CASE("GGUF: no truncation and no changed byte does more than throw") {
  for (const std::string& bytes :
       {read_bytes(std::filesystem::path(SPQR_FIXTURES) / "gguf" / "llama.gguf"), valid().bytes()}) {
    // Shorter in any place is an error: both files end with their last tensor, up to padding.
    const std::size_t end = GgufFile::parse(span_of(bytes), "x.gguf").tensors().back().data.data() -
                            std::as_bytes(std::span(bytes)).data() + 1;
    const std::size_t header = std::min<std::size_t>(bytes.size(), 3000);
    for (std::size_t length = 0; length < end; length += length < header ? 1 : 997) {
      CHECK(parse_error(bytes.substr(0, length)) != "no error");
    }
    for (std::size_t i = 0; i < header; ++i) {
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ change);
        const std::vector<char> copy(changed.begin(), changed.end());
        try {
          const auto file = GgufFile::parse(std::as_bytes(std::span(copy)), "x.gguf");
          const auto checkpoint = make_gguf_checkpoint(file, "x.gguf", {});
          for (const CheckpointTensor& tensor : checkpoint->tensors()) checkpoint->read(tensor.name);
        } catch (const std::runtime_error&) {
        }
      }
    }
  }
}
