#include "models/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "files.h"

using namespace spqr;

namespace {

std::string framed(const std::string& header, const std::string& data = "") {
  return bytes_of(static_cast<std::uint64_t>(header.size())) + header + data;
}

SafetensorsFile parse(const std::string& bytes) {
  return SafetensorsFile::parse(FileBytes::view(std::as_bytes(std::span(bytes))), "x.safetensors");
}

std::string refusal(const std::string& bytes) {
  return message_of([&] { parse(bytes); });
}

// One tensor "t" of 8 bytes of data, its entry as given.
std::string refusal_of_entry(const std::string& entry) {
  return refusal(framed("{\"t\":" + entry + "}", std::string(8, '\0')));
}

std::string two_tensors() {
  return safetensors_bytes({{"a", "F32", {2, 1}, std::string(8, 'a')}, {"b", "U8", {3}, "xyz"}});
}

}  // namespace

TEST_CASE("safetensors: tensors and metadata, in the order of the data") {
  const std::string bytes = framed(
      R"({"z":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"__metadata__":{"k":"v"},)"
      R"("a":{"dtype":"I64","shape":[],"data_offsets":[4,12]},"e":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]}}   )",
      std::string("1234ABCDEFGH"));
  const auto file = parse(bytes);
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.tensors()[0].name == "z");
  CHECK(file.tensors()[1].name == "e");
  CHECK(file.tensors()[2].name == "a");
  CHECK(file.tensors()[2].shape.empty());
  CHECK(std::memcmp(file.find("a")->data.data(), "ABCDEFGH", 8) == 0);
  CHECK(file.find("e")->data.empty());
  CHECK(file.find("no") == nullptr);
  CHECK(file.metadata().at("k") == "v");
}

TEST_CASE("safetensors: mapped and read files say the same") {
  const TemporaryDirectory folder;
  const auto path = folder.write("x.safetensors", two_tensors());
  for (const bool mmap : {true, false}) {
    const auto file = SafetensorsFile::open(path, mmap);
    CHECK(file.tensors().size() == 2);
    CHECK(std::memcmp(file.find("b")->data.data(), "xyz", 3) == 0);
    CHECK(file.file_bytes() == two_tensors().size());
  }
  CHECK(contains(message_of([&] { SafetensorsFile::open(folder.path() / "none"); }), "No such file"));
  CHECK(contains(message_of([&] { SafetensorsFile::open(folder.path()); }), "not a regular file"));
  const auto empty = folder.write("empty", "");
  CHECK(contains(message_of([&] { SafetensorsFile::open(empty); }), "0 bytes long"));
}

TEST_CASE("safetensors: a checkpoint that Hugging Face's writer made") {
  const std::filesystem::path folder = std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha";
  const auto file = SafetensorsFile::open(folder / "model.safetensors");
  // Embedding, head, last norm; nine of each of two blocks.
  CHECK(file.tensors().size() == 3 + 2 * 9);
  const auto is = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    const SafetensorsTensor* found = file.find(name);
    REQUIRE_MESSAGE(found != nullptr, name);
    CHECK(found->dtype == "F16");
    CHECK(found->shape == shape);
    std::size_t bytes = 2;
    for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
    CHECK(found->data.size() == bytes);
  };
  is("model.embed_tokens.weight", {384, 64});
  is("lm_head.weight", {384, 64});
  is("model.norm.weight", {64});
  for (const std::string block : {"model.layers.0.", "model.layers.1."}) {
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
      is(block + "self_attn." + name + ".weight", {64, 64});
    is(block + "mlp.gate_proj.weight", {160, 64});
    is(block + "mlp.up_proj.weight", {160, 64});
    is(block + "mlp.down_proj.weight", {64, 160});
    is(block + "input_layernorm.weight", {64});
    is(block + "post_attention_layernorm.weight", {64});
  }
  CHECK(file.metadata().at("format") == "pt");
}

TEST_CASE("safetensors: cut off anywhere it is refused") {
  const std::string whole = two_tensors();
  CHECK(refusal(whole) == "no error");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK(refusal(whole.substr(0, size)) != "no error");
  }
  CHECK(contains(refusal(whole.substr(0, 20)), "incomplete download?"));
  CHECK(contains(refusal(whole.substr(0, whole.size() - 1)), "incomplete download?"));
  CHECK(contains(refusal(whole + "x"), "1 bytes after the last tensor"));
}

TEST_CASE("safetensors: header lengths that lie") {
  CHECK(contains(refusal(bytes_of(std::uint64_t{0})), "not a safetensors file"));
  CHECK(contains(refusal(bytes_of(~std::uint64_t{0}) + "{}"), "more than the format's 100 MB"));
  CHECK(contains(refusal(bytes_of(std::uint64_t{100'000'001}) + "{}"), "more than the format's 100 MB"));
  CHECK(contains(refusal(bytes_of(std::uint64_t{3}) + "{}"), "header is 3 bytes long but the file only 10"));
  CHECK(contains(refusal(framed(" {}")), "does not start with '{'"));
  CHECK(refusal(framed("{}")) == "no error");
}

TEST_CASE("safetensors: offsets and shapes that lie") {
  const auto entry = [](const std::string& shape, const std::string& offsets) {
    return refusal_of_entry(R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}");
  };
  CHECK(entry("[2]", "[0,8]") == "no error");
  CHECK(contains(entry("[3]", "[0,12]"), "lie outside the file's 8 bytes"));
  CHECK(contains(entry("[2]", "[8,0]"), "lie outside"));
  CHECK(contains(entry("[2]", "[18446744073709551608,18446744073709551615]"), "lie outside"));
  CHECK(contains(entry("[2]", "[9223372036854775808,9223372036854775816]"), "lie outside"));
  CHECK(contains(entry("[2]", "[0,18446744073709551616]"), "not a whole number"));
  CHECK(contains(entry("[3]", "[0,8]"), "8 bytes of data, but dtype F32 and shape [3] need 12"));
  CHECK(contains(entry("[1]", "[4,8]"), "overlap or leave a gap"));
  CHECK(contains(entry("[1]", "[0,4]"), "4 bytes after the last tensor"));
  CHECK(contains(entry("[4611686018427387904,4]", "[0,8]"), "overflows"));
  CHECK(contains(entry("[4611686018427387906]", "[0,8]"), "overflows"));
  CHECK(contains(entry("[0,4611686018427387904,4611686018427387904]", "[0,0]"), "overflows"));
  CHECK(contains(entry("[-2]", "[0,8]"), "not a whole number"));
  CHECK(contains(entry("[2.0]", "[0,8]"), "not a whole number"));
  CHECK(contains(entry("[2]", "[-0.5,8]"), "not a whole number"));
  CHECK(contains(entry("[2]", "[0,8,16]"), "not a pair"));
  CHECK(contains(entry("2", "[0,8]"), "shape is not an array"));
}

TEST_CASE("safetensors: fields that are missing, unknown or of another kind") {
  CHECK(contains(refusal_of_entry(R"({"shape":[2],"data_offsets":[0,8]})"), "has no 'dtype'"));
  CHECK(contains(refusal_of_entry(R"({"dtype":"F32","data_offsets":[0,8]})"), "has no 'shape'"));
  CHECK(contains(refusal_of_entry(R"({"dtype":"F32","shape":[2]})"), "has no 'data_offsets'"));
  CHECK(contains(refusal_of_entry(R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})"), "dtype 'F31'"));
  CHECK(contains(refusal_of_entry(R"({"dtype":4,"shape":[2],"data_offsets":[0,8]})"), "not a string"));
  CHECK(contains(refusal_of_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"), "field 'x'"));
  CHECK(contains(refusal_of_entry("[]"), "not an object"));
  CHECK(contains(refusal(framed(R"({"__metadata__":{"a":1}})")), "'a' is not a string"));
  CHECK(contains(refusal(framed(R"({"__metadata__":[]})")), "not an object"));
}

TEST_CASE("safetensors: tensors that overlap, share bytes or leave a gap") {
  const auto two = [](const std::string& first, const std::string& second) {
    return refusal(framed(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
                              R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                          std::string(12, '\0')));
  };
  CHECK(contains(two("[0,4]", "[0,4]"), "overlap or leave a gap"));
  CHECK(contains(two("[0,4]", "[2,6]"), "overlap or leave a gap"));
  CHECK(contains(two("[0,4]", "[8,12]"), "overlap or leave a gap"));
  CHECK(contains(two("[4,8]", "[8,12]"), "overlap or leave a gap"));
}

TEST_CASE("safetensors: a header that is not strict JSON") {
  const std::string entry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK(contains(refusal(framed("{\"t\":" + entry + ",\"t\":" + entry + "}")), "the key 't' twice"));
  CHECK(contains(refusal(framed(R"({"__metadata__":{"a":"1","a":"2"}})")), "the key 'a' twice"));
  CHECK(contains(refusal(framed("{\"\xff\":" + entry + "}")), "not valid JSON"));
  CHECK(contains(refusal(framed("{\"t\":" + entry + "} x")), "not valid JSON"));
  CHECK(contains(refusal(framed("{" + std::string(100'000, '['))), "not valid JSON"));
  CHECK(contains(refusal(framed("{\"a\":" + std::string(100'000, '['))), "nested deeper"));
}
