#include "models/spqr_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "models/model.h"
#include "models/safetensors.h"
#include "tests/models/files.h"
#include "tests/models/spqr_file_samples.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string error_of(const fs::path& path, bool verify = false) {
  try {
    SpqrFile::open(path, {.mmap = true, .verify = verify});
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

// The file with its header changed by `change`, data as it was.
template <typename Change>
std::string with_header(const std::string& bytes, Change change) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  auto header = nlohmann::json::parse(bytes.substr(8, length));
  change(header);
  std::string text = header.dump();
  text.resize((8 + text.size() + 63) / 64 * 64 - 8, ' ');
  length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + text +
         bytes.substr(8 + static_cast<std::size_t>(*reinterpret_cast<const std::uint64_t*>(bytes.data())));
}

TEST_CASE("spqr file: what was written is read, aligned and in place") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const fs::path path = written(folder);
  for (const bool mmap : {true, false}) {
    const SpqrFile file = SpqrFile::open(path, {.mmap = mmap, .verify = true});
    CHECK(file.info().config_json == some_info().config_json);
    CHECK(file.info().quantization_json == some_info().quantization_json);
    CHECK(file.info().tokenizer_files == some_info().tokenizer_files);
    REQUIRE(file.modules().size() == 3);
    const auto* q = file.find_module("a.q_proj");
    REQUIRE(q != nullptr);
    const auto& matrix = std::get<SpqrMatrix>(q->linear.weight);
    const PackedMatrix expected = some_matrix(5, 33, true);
    CHECK(std::equal(matrix.dense.begin(), matrix.dense.end(), expected.dense.begin(), expected.dense.end()));
    CHECK(std::equal(matrix.col_vals.begin(), matrix.col_vals.end(), expected.col_vals.begin(),
                     expected.col_vals.end()));
    CHECK(reinterpret_cast<std::uintptr_t>(matrix.dense.data()) % 64 == 0);
    const auto perm = file.perm("a.perm");
    CHECK(std::vector<std::uint32_t>(perm.begin(), perm.end()) == reversed(33));
    REQUIRE(file.find_tensor("norm.weight"));
    CHECK(std::memcmp(file.find_tensor("norm.weight")->data, kNorm.data(), 33 * sizeof(float)) == 0);
    CHECK(file.find_module("lm_head") != nullptr);
  }
  CHECK(SafetensorsFile::open(path).find("a.q_proj.dense") != nullptr);
  CHECK(!fs::exists(path.string() + ".partial"));
  CHECK(!fs::exists(path.string() + ".journal"));
}

TEST_CASE("spqr file: cut off anywhere it is refused") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const std::string whole = read_bytes(written(folder));
  const fs::path path = folder / "cut.spqr";
  for (std::size_t size = 0; size < whole.size(); size += size < 128 ? 1 : 64) {
    write_bytes(path, whole.substr(0, size));
    CHECK(error_of(path) != "");
  }
}

TEST_CASE("spqr file: one changed byte of data is found by its checksum") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const fs::path path = written(folder);
  std::string bytes = read_bytes(path);
  const auto file = SafetensorsFile::open(path);
  const auto* tensor = file.find("a.q_proj.dense");
  const auto offset =
      bytes.size() - static_cast<std::size_t>(file.tensors().back().data.data() +
                                              file.tensors().back().data.size() - tensor->data.data());
  bytes[offset + 3] = static_cast<char>(bytes[offset + 3] ^ 1);
  const fs::path damaged = folder / "damaged.spqr";
  write_bytes(damaged, bytes);
  CHECK(error_of(damaged) == "");
  CHECK(error_of(damaged, true).find("'a.q_proj.dense' has checksum") != std::string::npos);
}

TEST_CASE("spqr file: headers that lie are refused with their reason") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const std::string whole = read_bytes(written(folder));
  const fs::path path = folder / "changed.spqr";
  const auto refused = [&](const char* reason, const auto& change) {
    write_bytes(path, with_header(whole, change));
    CAPTURE(reason);
    CHECK_MESSAGE(error_of(path).find(reason) != std::string::npos, error_of(path));
  };
  using Json = nlohmann::json;
  const auto edit_matrix = [](const char* field, Json value) {
    return [=](Json& header) {
      auto& text = header["__metadata__"]["matrices"].get_ref<std::string&>();
      Json matrices = Json::parse(text);
      matrices["a.q_proj"][field] = value;
      text = matrices.dump();
    };
  };
  refused("of .spqr version 2", [](Json& h) { h["__metadata__"]["spqr_version"] = "2"; });
  refused("not a .spqr file", [](Json& h) { h["__metadata__"]["format"] = "pt"; });
  refused("lattice", [](Json& h) { h["__metadata__"]["required"] = "[\"lattice\"]"; });
  refused("has no 'config'", [](Json& h) { h["__metadata__"].erase("config"); });
  refused("unknown field 'codebook'", edit_matrix("codebook", 1));
  refused("'bits'", edit_matrix("bits", "three"));
  refused("bits", edit_matrix("bits", 9));
  refused("beta1", edit_matrix("beta1", 0));
  refused("'m'", edit_matrix("m", -5));
  refused("'a.q_proj.dense'", edit_matrix("m", 500000));
  refused("'a.q_proj.dense'", edit_matrix("n", 2000000000));
  refused("add up to 5 outliers in all, expected 77", edit_matrix("nnz", 77));
  refused("'a.q_proj.row_counts' is U32 [16], expected U16 [32]", [](Json& h) {
    h["a.q_proj.row_counts"]["dtype"] = "U32";
    h["a.q_proj.row_counts"]["shape"] = {16};
  });
  refused("add up to 4 outliers or more, expected 3", edit_matrix("nnz", 3));
  refused("'factor'", edit_matrix("factor", -1.0));
  // 34 columns take as many bytes as 33.
  refused("permutes 33 columns for one module and 34", edit_matrix("n", 34));
  refused("no.such.perm", edit_matrix("perm", "no.such.perm"));
  refused("tensor 'e' is empty", [](Json& h) {
    h["e"] = {{"dtype", "F32"}, {"shape", {0, 1U << 31U, 1U << 30U}}, {"data_offsets", {0, 0}}};
    auto& text = h["__metadata__"]["checksums"].get_ref<std::string&>();
    text.replace(0, 1, "{\"e\": \"2d06800538d394c2\",");
  });
  refused("no checksum", [](Json& h) { h["__metadata__"]["checksums"] = "{}"; });
  refused("tokenizer", [](Json& h) { h["__metadata__"]["tokenizer"] = "{\"tokenizer.json\": 1000000}"; });
  refused("twice", [](Json& h) { h["__metadata__"]["matrices"] = "{\"a\":1,\"a\":2}"; });
}

TEST_CASE("spqr file: permutations that are none and row offsets that fall are refused") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  {
    auto perm = reversed(33);
    perm[4] = perm[5];
    SpqrFileWriter writer(folder / "perm.spqr", "f", false);
    writer.add_packed("m", some_matrix(5, 33, false), "p", perm);
    CHECK_THROWS_WITH_AS(writer.finish(some_info()), doctest::Contains("not a permutation"),
                         std::runtime_error);
  }
  const auto refused = [&](const char* reason, auto change) {
    PackedMatrix matrix = some_matrix(5, 33, true);
    change(matrix);
    SpqrFileWriter writer(folder / "rows.spqr", "f", false);
    const auto write = [&] {
      writer.add_packed("m", matrix, "", {});
      writer.finish(some_info());
    };
    CHECK_THROWS_WITH(write(), doctest::Contains(reason));
    CHECK(!fs::exists(folder / "rows.spqr"));
  };
  refused("row 1 has outliers 1 to 0", [](PackedMatrix& p) { p.row_offsets[2] = 0; });
  refused("row 4 has outliers 4 to 70000", [](PackedMatrix& p) { p.row_offsets[5] = 70000; });
  refused("add up to 4000 outliers or more, expected 5", [](PackedMatrix& p) { p.row_offsets[5] = 4000; });
  refused("add up to 4 outliers in all, expected 5", [](PackedMatrix& p) { p.row_offsets[0] = 1; });
  refused("is in column 33", [](PackedMatrix& p) { p.col_vals[1] = (p.col_vals[1] & 0xffff0000U) | 33U; });
  refused("not finite", [](PackedMatrix& p) { p.col_vals[1] = 0x7c000000U | (p.col_vals[1] & 0xffffU); });
}

TEST_CASE("spqr file: a model finds its weights in place, its tied head and its shapes") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const fs::path path = written(folder);
  const SpqrFile file = SpqrFile::open(path, {});
  const auto source = make_weight_source(file);
  const std::vector<std::string> both{"a.q_proj", "a.k_proj"};
  const std::vector<std::int64_t> m{5, 3};
  const LinearGroup group = source->linear_group(both, m, 33);
  CHECK(group.members.size() == 2);
  CHECK(group.perm.size() == 33);
  CHECK(std::get<SpqrMatrix>(group.members[0].weight).dense.data() ==
        std::get<SpqrMatrix>(file.find_module("a.q_proj")->linear.weight).dense.data());
  const std::vector<std::int64_t> wrong{5, 4};
  CHECK_THROWS_WITH_AS(source->linear_group(both, wrong, 33),
                       doctest::Contains("'a.k_proj' is 3 x 33, expected 4 x 33"), std::runtime_error);
  CHECK(source->vector("norm.weight", 33)[0] == 1.5F);
  CHECK_THROWS_AS(source->vector("norm.weight", 32), std::runtime_error);
}

TEST_CASE("spqr file: an embedding is the head only where the configuration says so") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  for (const bool tied : {true, false}) {
    SpqrFileWriter writer(folder / "model.spqr", "f", false);
    writer.add_dense("model.embed_tokens.weight", {kNorm.data(), DType::f32, {3, 11}});
    SpqrFileInfo info = some_info();
    auto config = nlohmann::json::parse(info.config_json);
    config["hidden_size"] = 11;
    config["tie_word_embeddings"] = tied;
    info.config_json = config.dump();
    writer.finish(info);
    const SpqrFile file = SpqrFile::open(folder / "model.spqr", {});
    const auto source = make_weight_source(file);
    const std::vector<std::string> head{"lm_head"};
    const std::vector<std::int64_t> m{3};
    if (tied) {
      CHECK(std::get<TensorView>(source->linear_group(head, m, 11).members[0].weight).shape[1] == 11);
    } else {
      CHECK_THROWS_WITH_AS(source->linear_group(head, m, 11), doctest::Contains("has no module 'lm_head'"),
                           std::runtime_error);
    }
  }
}

TEST_CASE("spqr file: blocks beyond those of the configuration are refused by name") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "model.spqr";
  SpqrFileWriter writer(path, "f", false);
  writer.add_dense("model.layers.0.self_attn.q_proj.weight", {kNorm.data(), DType::f32, {3, 11}});
  writer.add_dense("model.layers.1.self_attn.v_proj.weight", {kNorm.data(), DType::f32, {3, 11}});
  writer.finish(some_info());
  CHECK_THROWS_WITH_AS(make_weight_source(SpqrFile::open(path, {})),
                       doctest::Contains("model.spqr: holds 'model.layers.1.self_attn.v_proj', but its "
                                         "configuration has 1 layers (num_hidden_layers)"),
                       std::runtime_error);
}

TEST_CASE("spqr file: how it was quantized need not be said") {
  const TemporaryDirectory directory;
  const fs::path path = written(directory.path());
  write_bytes(path, with_header(read_bytes(path),
                                [](auto& header) { header["__metadata__"].erase("quantization"); }));
  CHECK(SpqrFile::open(path, {.verify = true}).info().quantization_json == "{}");
}

TEST_CASE("spqr file: biases and vectors of 16 bits are widened") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const std::vector<std::uint16_t> halves{0x3c00, 0xc000, 0x3800};  // f16: 1, -2, 0.5; bf16: 2^-7, -2, 2^-15
  SpqrFileWriter writer(folder / "model.spqr", "f", false);
  writer.add_packed("q", some_matrix(3, 33, false), "", {});
  writer.add_dense("q.bias", {halves.data(), DType::f16, {3}});
  writer.add_dense("norm.weight", {halves.data(), DType::bf16, {3}});
  writer.finish(some_info());
  const SpqrFile file = SpqrFile::open(folder / "model.spqr", {.mmap = true, .verify = true});
  const auto source = make_weight_source(file);
  const auto bias = file.find_module("q")->linear.bias;
  CHECK(std::vector<float>(bias.begin(), bias.end()) == std::vector<float>{1.0F, -2.0F, 0.5F});
  const auto norm = source->vector("norm.weight", 3);
  CHECK(std::vector<float>(norm.begin(), norm.end()) ==
        std::vector<float>{0.0078125F, -2.0F, 3.0517578125e-5F});
}

TEST_CASE("spqr file: modules that read one input must share its permutation, and a permutation its size") {
  const TemporaryDirectory directory;
  const fs::path& folder = directory.path();
  const auto perm = reversed(33);
  {
    auto other = perm;
    std::swap(other[1], other[2]);
    SpqrFileWriter writer(folder / "two.spqr", "f", false);
    writer.add_packed("q", some_matrix(5, 33, false), "p", perm);
    writer.add_packed("k", some_matrix(5, 33, false), "", {});
    CHECK_THROWS_WITH_AS(writer.add_packed("v", some_matrix(5, 33, false), "p", other),
                         doctest::Contains("other contents"), std::invalid_argument);
    CHECK_THROWS_WITH_AS(writer.add_packed("w", some_matrix(5, 33, false), "o", reversed(34)),
                         doctest::Contains("33 columns and a permutation of 34"), std::invalid_argument);
    CHECK_THROWS_WITH_AS(writer.add_packed("q", some_matrix(5, 33, false), "p", perm),
                         doctest::Contains("added twice"), std::invalid_argument);
  }
  SpqrFileWriter writer(folder / "two.spqr", "f", false);
  writer.add_packed("q", some_matrix(5, 33, false), "p", perm);
  writer.add_packed("k", some_matrix(5, 33, false), "", {});
  writer.finish(some_info());
  const SpqrFile file = SpqrFile::open(folder / "two.spqr", {});
  const std::vector<std::string> both{"q", "k"};
  const std::vector<std::int64_t> m{5, 5};
  CHECK_THROWS_WITH_AS(make_weight_source(file)->linear_group(both, m, 33),
                       doctest::Contains("module 'k' has permutation ''"), std::runtime_error);
}

}  // namespace
}  // namespace spqr
