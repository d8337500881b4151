// One weight matrix into a .spqr file: solved or converted, packed, written, and what came of it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "models/spqr_file.h"
#include "runtime/quantize_options.h"
#include "runtime/sensitivity.h"

namespace spqr {

struct ModuleReport {
  std::string module;
  std::string scheme;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t outliers = 0;
  double bits = 0;         // per weight, by the formula
  double stored_bits = 0;  // per weight, of the file
  // tr(D H D^T) / tr(W H W^T), as stored; without H: |D|^2 / |W|^2. None of weights that stand for no others.
  std::optional<double> relative_error{};
  bool linear = true;  // of a block; false: embedding or head

  double outlier_share() const {
    return static_cast<double>(outliers) / (static_cast<double>(m) * static_cast<double>(n));
  }
};

nlohmann::json to_json(const ModuleReport& report);
ModuleReport module_report(const nlohmann::json& object);

// The type of a dense scheme's weights.
DType dense_dtype(Scheme scheme);

// What calibration found out about one input.
struct InputStatistics {
  std::vector<float> h;  // (n, n) = 2/N sum x x^T
  Hessian hessian;       // of it
};

// A matrix as it goes into the file.
struct QuantizedModule {
  PackedMatrix packed;              // of schemes that pack
  std::vector<std::uint32_t> perm;  // (n) or empty
  std::vector<std::uint8_t> dense;  // bytes of dense schemes
  DType dense_dtype = DType::f16;
  std::optional<SensitivityMap> sensitivity{};
  ModuleReport report;
};

// Outliers and bits of the packed matrix, into its report.
void report_packed(QuantizedModule& module);
// Adds this matrix's part of a permutation that `sharers` matrices have in common to its stored bits.
void count_permutation(QuantizedModule& module, std::size_t sharers);

// |b - a|^2 / |a|^2, 0 where a is.
double relative_difference(std::span<const float> a, std::span<const float> b);

// W in a dense type: bytes and bits. Overwrites w with what a reader of the file will see. Throws
// std::runtime_error where a weight is not finite there.
QuantizedModule convert_dense(std::span<float> w, DType dtype);

// Solves w (m, n) as settings.scheme says, and overwrites w with what a reader of the file will see. `input`
// is null for schemes that need none. `options` has the threshold. keep_sensitivity: the result has its map,
// where there is an input.
QuantizedModule quantize_linear(const std::string& module, std::span<float> w, std::int64_t m, std::int64_t n,
                                Scheme scheme, const QuantizeOptions& options, const InputStatistics* input,
                                bool keep_sensitivity = false);

// Format of a packed embedding or head: `packed` for spqr, groups of 32 with f16 statistics for rtn.
SpqrFormat table_format(const TableScheme& table, const SpqrFormat& packed);

// Likewise for embedding and head.  `input`: of the head, for TableScheme spqr; null: every column counts
// alike.
QuantizedModule quantize_table(const std::string& module, std::span<float> w, std::int64_t m, std::int64_t n,
                               const TableScheme& table, const QuantizeOptions& options,
                               const InputStatistics* input);

// W of a packed matrix, f32 (m, n), in the original column order.
void dequantize(const SpqrMatrix& matrix, std::span<const std::uint32_t> perm, std::span<float> out);

// Key of the notes that write_module() leaves: reports as JSON.
inline constexpr const char* kModuleNote = "module";

// Adds the module under its name, and a note of its report; perm_name is the tensor that holds the
// permutation of its input.
void write_module(SpqrFileWriter& writer, const QuantizedModule& module, const std::string& perm_name);

}  // namespace spqr
