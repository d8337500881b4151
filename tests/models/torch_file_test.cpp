#include "models/torch_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <span>

#include "models/safetensors.h"
#include "tests/models/files.h"

using namespace spqr;
using pickle::Dict;
using pickle::Sequence;

namespace {

const std::filesystem::path kFixtures = std::filesystem::path(SPQR_FIXTURES) / "torch";

// Opens a copy, so that a read past the end is one past an allocation, and reads all tensors.
void read_all(const std::string& bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  const TorchFile file = TorchFile::parse(FileBytes::view(std::as_bytes(std::span(copy))), "x.pt");
  const auto* dict = file.root().as<Dict>();
  if (dict == nullptr) return;
  for (const auto& [key, value] : dict->items) {
    if (const auto* tensor = value->as<pickle::Tensor>(); tensor != nullptr) file.read(*tensor);
  }
}

std::string error(const std::string& bytes) {
  return message_of([&] { read_all(bytes); });
}

}  // namespace

// The files and the values come from torch.
TEST_CASE("torch file: tensors of every kind, in both layouts, stored and compressed") {
  const auto expected = SafetensorsFile::open(kFixtures / "types.safetensors");
  for (const char* name : {"types.pt", "types-legacy.pt", "types-legacy-3.pt", "types-legacy-4.pt",
                           "types-legacy-5.pt", "deflated.pt"}) {
    CAPTURE(name);
    const TorchFile file = TorchFile::open(kFixtures / name);
    const auto* dict = file.root().as<Dict>();
    REQUIRE(dict != nullptr);
    for (const SafetensorsTensor& tensor : expected.tensors()) {
      CAPTURE(tensor.name);
      const pickle::Value* value = dict->find(tensor.name);
      REQUIRE(value != nullptr);
      const auto* found = value->as<pickle::Tensor>();
      REQUIRE(found != nullptr);
      CHECK(found->storage.dtype == tensor.dtype);
      CHECK(found->shape == tensor.shape);
      const std::vector<std::byte> bytes = file.read(*found);
      CHECK(bytes == std::vector<std::byte>(tensor.data.begin(), tensor.data.end()));
    }
    const auto& tuple = dict->find("tuple")->as<Sequence>()->items;
    CHECK(*tuple.at(1)->as<double>() == -2.5);
    CHECK(*tuple.at(2)->as<std::string>() == "é");
    CHECK(*tuple.at(5)->as<Sequence>()->items.at(0)->as<std::int64_t>() == std::int64_t{1} << 40);
    CHECK(*dict->find("size")->as<Sequence>()->items.at(1)->as<std::int64_t>() == 6);
    CHECK(dict->find("dtype")->as<pickle::Global>()->name == "torch.float16");
    const auto* sparse = dict->find("sparse")->as<pickle::SparseTensor>();
    REQUIRE(sparse != nullptr);
    CHECK(sparse->shape == std::vector<std::int64_t>{4, 6});
    std::vector<float> values(2);
    std::memcpy(values.data(), file.read(*sparse->values).data(), 8);
    CHECK(values == std::vector<float>{1.5F, -2});
    std::vector<std::int64_t> indices(4);
    std::memcpy(indices.data(), file.read(*sparse->indices).data(), 32);
    CHECK(indices == std::vector<std::int64_t>{1, 3, 2, 0});
  }
}

TEST_CASE("torch file: damaged files are refused") {
  for (const char* name : {"types.pt", "types-legacy.pt", "types-legacy-4.pt", "deflated.pt"}) {
    CAPTURE(name);
    const std::string whole = read_bytes(kFixtures / name);
    CHECK(error(whole) == "no error");
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(length);
      CHECK(error(whole.substr(0, length)) != "no error");
    }
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string changed = whole;
        changed[i] = static_cast<char>(changed[i] ^ change);
        error(changed);
      }
    }
  }
  // A changed number is found by the archive's checksums.
  std::string changed = read_bytes(kFixtures / "types.pt");
  const auto expected = SafetensorsFile::open(kFixtures / "types.safetensors");
  const auto row = expected.find("f32")->data;
  const std::size_t at = changed.find(std::string(reinterpret_cast<const char*>(row.data()), row.size()));
  REQUIRE(at != std::string::npos);
  changed[at] = static_cast<char>(changed[at] ^ 1);
  CHECK(contains(error(changed), "is damaged"));
}

TEST_CASE("torch file: what it is not") {
  CHECK(contains(error(""), "no file of torch.save"));
  CHECK(contains(error("GGUF"), "no file of torch.save"));
  CHECK(contains(error(std::string("PK\x03\x04", 4)), "no intact zip archive"));
  CHECK(is_torch_file(read_bytes(kFixtures / "types.pt")));
  CHECK(is_torch_file(read_bytes(kFixtures / "types-legacy.pt")));
  CHECK_FALSE(is_torch_file("\x80\x02N."));
}
