#include "runtime/module_quantizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "kernels/half.h"
#include "kernels/threads.h"
#include "models/spqr_container.h"

namespace spqr {
namespace {

constexpr std::int64_t kTableGroup = 32;

template <typename To, typename Back>
void convert(std::span<float> w, std::vector<std::uint8_t>& bytes, To to, Back back) {
  auto* out = reinterpret_cast<std::uint16_t*>(bytes.data());
  to(w.data(), out, w.size());
  back(out, w.data(), w.size());
}

QuantizedModule pack_parts(SpqrParts parts, std::span<float> w) {
  QuantizedModule result;
  result.packed = pack(parts);
  result.perm = std::move(parts.perm);
  dequantize(result.packed.view(), result.perm, w);
  report_packed(result);
  return result;
}

// Columns of equal importance, in their order.
Hessian plain_hessian(std::int64_t n) {
  Hessian hessian;
  hessian.n = n;
  hessian.inverse_factor.assign(static_cast<std::size_t>(n * n), 0.0F);
  for (std::int64_t i = 0; i < n; ++i) hessian.inverse_factor[static_cast<std::size_t>(i * n + i)] = 1.0F;
  hessian.dead.assign(static_cast<std::size_t>(n), 0);
  return hessian;
}

void describe(ModuleReport& report, const std::string& module, const std::string& scheme, std::int64_t m,
              std::int64_t n) {
  report.module = module;
  report.scheme = scheme;
  report.m = m;
  report.n = n;
}

QuantizedModule solve(std::span<float> w, std::int64_t m, std::int64_t n, Scheme scheme,
                      const QuantizeOptions& options, const Hessian* hessian) {
  if (is_dense(scheme)) return convert_dense(w, dense_dtype(scheme));
  if (scheme == Scheme::rtn) return pack_parts(quantize_rtn(w, m, n, options.format), w);
  if (hessian == nullptr) throw std::logic_error("a solver without its Hessian");
  return pack_parts(quantize_spqr(w, m, n, *hessian, options), w);
}

// Runs solve() with module name and errors of W around it.
QuantizedModule quantize(const std::string& module, std::span<float> w, std::int64_t m, std::int64_t n,
                         Scheme scheme, const QuantizeOptions& options, const InputStatistics* input,
                         bool keep_sensitivity, const Hessian* hessian) {
  try {
    const std::vector<float> original(w.begin(), w.end());
    QuantizedModule result = solve(w, m, n, scheme, options, hessian);
    describe(result.report, module, std::string(name_of(scheme)), m, n);
    result.report.relative_error =
        input == nullptr ? relative_difference(original, w) : relative_error(original, w, input->h, m, n);
    if (keep_sensitivity && hessian != nullptr)
      result.sensitivity = sensitivity_map(original, result.packed.view(), *hessian);
    return result;
  } catch (const std::logic_error&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", module, error.what()));
  }
}

}  // namespace

DType dense_dtype(Scheme scheme) {
  return scheme == Scheme::f32 ? DType::f32 : scheme == Scheme::bf16 ? DType::bf16 : DType::f16;
}

double relative_difference(std::span<const float> a, std::span<const float> b) {
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(b[i]) - static_cast<double>(a[i]);
    error += difference * difference;
    norm += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return norm > 0 ? error / norm : 0;
}

QuantizedModule convert_dense(std::span<float> w, DType dtype) {
  QuantizedModule result;
  result.dense_dtype = dtype;
  result.dense.resize(w.size() * size_of(dtype));
  using ToHalf = void (*)(const float*, std::uint16_t*, std::size_t);
  using FromHalf = void (*)(const std::uint16_t*, float*, std::size_t);
  if (dtype == DType::f32) {
    std::copy_n(reinterpret_cast<const std::uint8_t*>(w.data()), result.dense.size(), result.dense.data());
  } else if (dtype == DType::bf16) {
    convert(w, result.dense, static_cast<ToHalf>(f32_to_bf16), static_cast<FromHalf>(bf16_to_f32));
  } else {
    convert(w, result.dense, static_cast<ToHalf>(f32_to_f16), static_cast<FromHalf>(f16_to_f32));
  }
  const bool finite = std::all_of(w.begin(), w.end(), [](float value) { return std::isfinite(value); });
  if (!finite) throw std::runtime_error("holds weights too large for f16; use bf16 or f32");
  result.report.bits = result.report.stored_bits = 8.0 * static_cast<double>(size_of(dtype));
  return result;
}

nlohmann::json to_json(const ModuleReport& report) {
  nlohmann::json object{{"module", report.module},
                        {"scheme", report.scheme},
                        {"shape", {report.m, report.n}},
                        {"outliers", report.outliers},
                        {"outlier_share", report.outlier_share()},
                        {"bits_per_weight", report.bits},
                        {"stored_bits_per_weight", report.stored_bits},
                        {"linear", report.linear}};
  if (report.relative_error) object["relative_error"] = *report.relative_error;
  return object;
}

ModuleReport module_report(const nlohmann::json& object) {
  ModuleReport report{.module = object.at("module"),
                      .scheme = object.at("scheme"),
                      .m = object.at("shape").at(0),
                      .n = object.at("shape").at(1),
                      .outliers = object.at("outliers"),
                      .bits = object.at("bits_per_weight"),
                      .stored_bits = object.at("stored_bits_per_weight"),
                      .linear = object.at("linear")};
  if (const auto error = object.find("relative_error"); error != object.end())
    report.relative_error = error->get<double>();
  return report;
}

void dequantize(const SpqrMatrix& matrix, std::span<const std::uint32_t> perm, std::span<float> out) {
  parallel(matrix.m, [&](Indices& mine) {
    std::vector<float> row(perm.empty() ? 0 : static_cast<std::size_t>(matrix.n));
    while (mine.next()) {
      const std::int64_t i = mine.index();
      float* target = out.data() + i * matrix.n;
      if (perm.empty()) {
        dequantize_row(matrix, i, target);
        continue;
      }
      dequantize_row(matrix, i, row.data());
      for (std::size_t j = 0; j < perm.size(); ++j) target[perm[j]] = row[j];
    }
  });
}

void report_packed(QuantizedModule& module) {
  const SpqrMatrix matrix = module.packed.view();
  const double weights = static_cast<double>(matrix.m) * static_cast<double>(matrix.n);
  ModuleReport& report = module.report;
  report.outliers = static_cast<std::int64_t>(matrix.col_vals.size());
  report.bits = bits_per_weight(matrix.format, matrix.n, static_cast<double>(report.outliers) / weights);
  report.stored_bits = 8.0 * static_cast<double>(container::stored_bytes(matrix)) / weights;
}

void count_permutation(QuantizedModule& module, std::size_t sharers) {
  if (module.perm.empty()) return;
  const double weights = static_cast<double>(module.report.m) * static_cast<double>(module.report.n);
  module.report.stored_bits += 8.0 * static_cast<double>(container::permutation_bytes(module.report.n)) /
                               static_cast<double>(sharers) / weights;
}

QuantizedModule quantize_linear(const std::string& module, std::span<float> w, std::int64_t m, std::int64_t n,
                                Scheme scheme, const QuantizeOptions& options, const InputStatistics* input,
                                bool keep_sensitivity) {
  return quantize(module, w, m, n, scheme, options, input, keep_sensitivity,
                  input == nullptr ? nullptr : &input->hessian);
}

SpqrFormat table_format(const TableScheme& table, const SpqrFormat& packed) {
  if (table.scheme != Scheme::rtn) return packed;
  return {.bits = table.bits,
          .beta1 = kTableGroup,
          .beta2 = 16,
          .scale_bits = SpqrFormat::kUnquantized,
          .zero_bits = SpqrFormat::kUnquantized};
}

QuantizedModule quantize_table(const std::string& module, std::span<float> w, std::int64_t m, std::int64_t n,
                               const TableScheme& table, const QuantizeOptions& options,
                               const InputStatistics* input) {
  QuantizeOptions chosen = options;
  chosen.format = table_format(table, options.format);
  QuantizedModule result;
  if (table.scheme == Scheme::spqr && input == nullptr) {
    chosen.permutation = PermutationOrder::identity;
    const Hessian plain = plain_hessian(n);
    result = quantize(module, w, m, n, table.scheme, chosen, nullptr, false, &plain);
  } else {
    result = quantize_linear(module, w, m, n, table.scheme, chosen, input);
  }
  result.report.scheme = name_of(table);
  result.report.linear = false;
  return result;
}

void write_module(SpqrFileWriter& writer, const QuantizedModule& module, const std::string& perm_name) {
  const ModuleReport& report = module.report;
  if (module.dense.empty()) {
    writer.add_packed(report.module, module.packed, module.perm.empty() ? "" : perm_name, module.perm);
  } else {
    writer.add_dense(report.module + ".weight",
                     {module.dense.data(), module.dense_dtype, {report.m, report.n}});
  }
  if (module.sensitivity) write_sensitivity(writer, report.module, *module.sensitivity);
  writer.note(kModuleNote, to_json(report).dump());
}

}  // namespace spqr
