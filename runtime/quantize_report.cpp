#include "runtime/quantize_report.h"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/quantize_pipeline.h"

namespace spqr {

QuantizeAverages averages(const std::vector<ModuleReport>& reports) {
  QuantizeAverages result;
  double weights = 0;
  double matrices = 0;
  double errors = 0;
  bool all_have_errors = true;
  for (const ModuleReport& report : reports) {
    if (!report.linear) continue;
    const double size = static_cast<double>(report.m) * static_cast<double>(report.n);
    weights += size;
    matrices += 1;
    result.bits += size * report.bits;
    result.stored_bits += size * report.stored_bits;
    result.outlier_share += static_cast<double>(report.outliers);
    errors += report.relative_error.value_or(0);
    all_have_errors = all_have_errors && report.relative_error.has_value();
  }
  if (weights > 0) {
    result.bits /= weights;
    result.stored_bits /= weights;
    result.outlier_share /= weights;
    if (all_have_errors) result.relative_error = errors / matrices;
  }
  return result;
}

nlohmann::json to_json(const QuantizeAverages& average) {
  nlohmann::json object{{"bits_per_weight", average.bits},
                        {"stored_bits_per_weight", average.stored_bits},
                        {"outlier_share", average.outlier_share}};
  if (average.relative_error) object["relative_error"] = *average.relative_error;
  return object;
}

nlohmann::json to_json(const SpqrFormat& format) {
  nlohmann::json object{
      {"bits", format.bits}, {"scale_bits", format.scale_bits}, {"zero_bits", format.zero_bits}};
  if (format.beta1 == SpqrFormat::kWholeRow) {
    object["beta1"] = "row";
  } else {
    object["beta1"] = format.beta1;
  }
  if (format.quantized_statistics()) object["beta2"] = format.beta2;
  return object;
}

nlohmann::json to_json(const QuantizeSettings& settings) {
  nlohmann::json object{{"scheme", name_of(settings.scheme)},
                        {"embedding_scheme", name_of(settings.embedding)},
                        {"head_scheme", name_of(settings.head)}};
  if (!settings.preset.empty()) object["preset"] = settings.preset;
  if (is_dense(settings.scheme)) return object;
  object.update(to_json(settings.options.format));
  if (!needs_calibration(settings.scheme)) return object;
  object["permutation"] =
      settings.options.permutation == PermutationOrder::act_order ? "act_order" : "identity";
  object["damp"] = settings.options.damp;
  object["round_zero"] = settings.options.round_zero;
  object["true_sequential"] = settings.true_sequential;
  if (settings.keep_sensitivity) object["keep_sensitivity"] = true;
  object["seed"] = settings.seed;
  if (settings.scheme == Scheme::spqr) {
    object["simplified_outliers"] = settings.options.simplified_outliers;
    if (settings.target_bits) {
      object["target_bits"] = *settings.target_bits;
    } else if (std::isinf(settings.options.outlier_threshold)) {
      object["outlier_threshold"] = "inf";
    } else {
      object["outlier_threshold"] = settings.options.outlier_threshold;
    }
  }
  return object;
}

nlohmann::json to_json(const CalibrationSettings& settings, const CalibrationSet& set) {
  nlohmann::json object{{"file", settings.file.filename().string()},
                        {"xxh3_64", set.checksum},
                        {"length", settings.length},
                        {"order", settings.order == WindowOrder::random ? "random" : "sequential"}};
  if (set.documents > 0) {
    object["documents"] = {settings.documents.first, settings.documents.first + set.documents - 1};
  }
  return object;
}

nlohmann::json to_json(const QuantizeSummary& summary) {
  nlohmann::json object = to_json(summary.average);
  object.update({{"file_bytes", summary.file_bytes},
                 {"calibration_tokens", summary.calibration_tokens},
                 {"seconds", summary.times.total},
                 {"seconds_watch", summary.times.watch},
                 {"seconds_prepare", summary.times.prepare},
                 {"seconds_solve", summary.times.solve},
                 {"seconds_propagate", summary.times.propagate},
                 {"seconds_write", summary.times.write}});
  if (std::isfinite(summary.outlier_threshold)) object["outlier_threshold"] = summary.outlier_threshold;
  for (const ModuleReport& module : summary.modules) object["modules"].push_back(to_json(module));
  return object;
}

std::string line_of(const ModuleReport& report) {
  const std::string shape = fmt::format("{} x {}", report.m, report.n);
  const std::string error =
      report.relative_error ? fmt::format("error {:.2e}  ", *report.relative_error) : std::string();
  return fmt::format("{:<44} {:>14}  {}outliers {:6.3f} %  {:.3f} bits ({:.3f} stored)", report.module, shape,
                     error, 100 * report.outlier_share(), report.bits, report.stored_bits);
}

}  // namespace spqr
