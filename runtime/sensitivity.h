// Which weights of a matrix matter: how much the output's error grows where one weight is rounded.
//   s_ij = (w_ij - quant(w_ij))^2 / (2 [H^-1]_jj)        Source: arXiv 2306.03078, section 3.1 and figure 2.
// quant(w_ij) is the nearest value that the weight's group has: what the weight becomes if it is no outlier
// and nothing makes up for the error of others. H is damped as the quantizer had it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "kernels/spqr_matrix.h"
#include "models/config.h"
#include "models/spqr_file.h"

namespace spqr {

// s of a matrix (m, n), reduced to what pictures and statistics need; columns in the original order.
struct SensitivityMap {
  static constexpr std::int64_t kMostCells = 256;  // along one side

  std::int64_t m = 0;
  std::int64_t n = 0;
  std::vector<double> row_sums;     // (m)
  std::vector<double> column_sums;  // (n)
  std::int64_t rows = 0;     // of cells: cell (a, b) is rows floor(a m / rows) .. floor((a + 1) m / rows)
  std::int64_t columns = 0;  // - 1 of the matrix, and columns likewise
  std::vector<float> cells;  // (rows, columns) mean of s over the cell, mean over the matrix being 1

  double total() const;
};

// w (m, n): the weights before they were quantized, in the original order of columns; hessian: the one with
// which `packed` was made of them. What no input ever reaches counts 0.
SensitivityMap sensitivity_map(std::span<const float> w, const SpqrMatrix& packed, const Hessian& hessian);

// Beside the module's own tensors: MODULE.sensitivity and two more (models/FORMAT.md).
void write_sensitivity(SpqrFileWriter& writer, const std::string& module, const SensitivityMap& map);
// Bytes of them.
std::uint64_t sensitivity_bytes(std::int64_t m, std::int64_t n);
// Throws std::runtime_error with a sentence where the file has none of this module, or not as it should be.
SensitivityMap read_sensitivity(const SpqrFile& file, const std::string& module);
// The modules of which it has one.
std::vector<std::string> modules_with_sensitivity(const SpqrFile& file);

// Shares of the total by attention head: rows of q_proj, k_proj and v_proj, columns of the projection behind
// the heads. Empty for other modules.
std::vector<double> sensitivity_by_head(const SensitivityMap& map, const std::string& module,
                                        const ModelConfig& config);

// One object, with sums of all rows and columns and the map; and for people, without these.
nlohmann::json to_json(const SensitivityMap& map, const std::string& module, const ModelConfig& config);
std::string to_text(const SensitivityMap& map, const std::string& module, const ModelConfig& config);

}  // namespace spqr
