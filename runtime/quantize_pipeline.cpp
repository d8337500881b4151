#include "runtime/quantize_pipeline.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "models/checkpoint.h"
#include "models/json.h"
#include "runtime/block_calibrator.h"
#include "runtime/calibration.h"
#include "runtime/quantize_block.h"
#include "runtime/quantize_checks.h"
#include "runtime/quantize_plan.h"
#include "runtime/stopwatch.h"
#include "runtime/target_bits.h"
#include "runtime/tied_head.h"

namespace spqr {
namespace {

class Pipeline {
 public:
  Pipeline(const QuantizeJob& job, QuantizeObserver& observer)
      : job_(job),
        observer_(observer),
        settings_(job.settings),
        checkpoint_(open_checkpoint(job.model, {job.tokenizer})),
        config_(parse_config(checkpoint_->config_json(), job.model.string())),
        untied_(settle_head(settings_, config_)) {}
  ~Pipeline() {
    if (store_ && !has_threshold_notes(*writer_)) store_->remove();
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  QuantizeSummary run();

 private:
  bool calibrated() const { return calibrator_ != nullptr; }
  std::int64_t layers() const { return config_.num_hidden_layers; }
  double matrices_per_block() const {
    double count = 0;
    for (const LinearGroupSpec& group : block_linears(config_, 0))
      count += static_cast<double>(group.modules.size());
    return count;
  }

  void calibrate();
  void open_writer();
  std::string fingerprint() const;
  void check_cancelled();
  void advance(double units, const std::string& what);

  void write_embedding();
  void write_blocks();
  void write_head();
  void write_block(std::int64_t layer, const QuantizeOptions& options, const InputOf& stored);
  void write_vectors(const std::vector<std::string>& names, BlockWeights& weights);
  void resume_block(std::int64_t layer);
  bool block_written(std::int64_t layer) const;
  ModuleSink writing_sink();
  void report(const ModuleReport& module);
  void report_resumed(const std::string& module);

  void search_threshold();
  bool searches() const { return settings_.scheme == Scheme::spqr && settings_.target_bits.has_value(); }
  bool head_is_solved() const {
    return !config_.tie_word_embeddings && settings_.head.scheme == Scheme::spqr;
  }

  std::string quantization_json() const;
  void finish();

  const QuantizeJob& job_;
  QuantizeObserver& observer_;
  QuantizeSettings settings_;
  std::unique_ptr<Checkpoint> checkpoint_;
  ModelConfig config_;
  bool untied_;  // the head is stored in another way than the embedding, to which the checkpoint ties it
  std::unique_ptr<Backend> backend_;
  CalibrationSet calibration_;
  std::unique_ptr<BlockCalibrator> calibrator_;
  std::unique_ptr<SpqrFileWriter> writer_;
  std::unique_ptr<InputStore> store_;
  QuantizeSummary summary_;
  std::map<std::string, ModuleReport, std::less<>> noted_;  // of modules that an interrupted run wrote
  std::int64_t finished_blocks_ = 0;
  double done_ = 0;
  double total_ = 1;
  std::string doing_;
};

void Pipeline::check_cancelled() {
  if (!observer_.cancelled()) return;
  if (finished_blocks_ == 0 && store_ && has_threshold_notes(*writer_))
    throw QuantizeCancelled("interrupted while looking for the threshold; --resume goes on from there");
  throw QuantizeCancelled(finished_blocks_ > 0
                              ? fmt::format("interrupted after {} of {} blocks; --resume goes on from there",
                                            finished_blocks_, layers())
                              : "interrupted; nothing is left behind");
}

void Pipeline::advance(double units, const std::string& what) {
  done_ += units;
  doing_ = what;
  observer_.progress(done_, total_, what);
  check_cancelled();
}

void Pipeline::calibrate() {
  const std::unique_ptr<Tokenizer> tokenizer =
      fitting_tokenizer(*checkpoint_, config_, job_.tokenizer.empty() ? job_.model : job_.tokenizer);
  for (const std::string& warning : source_warnings(*checkpoint_, tokenizer.get(), job_))
    observer_.warn(warning);
  if (!needs_calibration(settings_.scheme) && !head_is_solved()) {
    if (!settings_.calibration.file.empty())
      observer_.warn(fmt::format("--calibration is not used by --scheme {}", name_of(settings_.scheme)));
    settings_.calibration.file.clear();
    return;
  }
  if (settings_.calibration.file.empty()) {
    if (!needs_calibration(settings_.scheme))
      throw OptionsError("--head-scheme spqr needs a --calibration text");
    throw OptionsError(fmt::format("--scheme {} needs a --calibration text; --scheme rtn needs none",
                                   name_of(settings_.scheme)));
  }
  calibration_ = load_calibration(settings_.calibration, settings_.seed, tokenizer.get(), config_.vocab_size,
                                  config_.max_position_embeddings);
  for (const std::string& warning : calibration_.warnings) observer_.warn(warning);
  for (const auto& sequence : calibration_.sequences)
    summary_.calibration_tokens += static_cast<std::int64_t>(sequence.size());
}

std::string Pipeline::fingerprint() const {
  nlohmann::json object = to_json(settings_);
  object["version"] = SPQR_VERSION;
  const std::string model = std::filesystem::weakly_canonical(job_.model).string();  // of any bytes
  object["model"] = XXH3_64bits(model.data(), model.size());
  object["config"] = checkpoint_->config_json();
  object["calibration"] = {calibration_.checksum,
                           settings_.calibration.documents.first,
                           settings_.calibration.documents.last,
                           settings_.calibration.samples,
                           settings_.calibration.length,
                           static_cast<int>(settings_.calibration.order)};
  object["untied"] = untied_;
  return object.dump();
}

void Pipeline::open_writer() {
  require_other_file(job_.out, job_.model);
  const bool calibrates = !calibration_.sequences.empty();
  std::int64_t length = 0;
  for (const auto& sequence : calibration_.sequences)
    length = std::max(length, static_cast<std::int64_t>(sequence.size()));
  backend_ = make_backend("cpu", {job_.threads});
  QuantizePlan plan = plan_quantization(config_, settings_, *backend_, summary_.calibration_tokens, length);
  plan.activations_on_disk = job_.activations_on_disk;
  add_tokenizer(plan, checkpoint_->tokenizer_files());
  observer_.tell(describe(plan));
  require_room(plan, job_.out);
  writer_ = std::make_unique<SpqrFileWriter>(job_.out, fingerprint(), job_.resume);
  for (const auto& [key, json] : writer_->notes()) {
    if (key != kModuleNote) continue;
    const ModuleReport noted = module_report(nlohmann::json::parse(json));
    noted_[noted.module] = noted;
  }
  while (finished_blocks_ < layers() && block_written(finished_blocks_)) ++finished_blocks_;
  if (!calibrates) return;
  const std::filesystem::path spill = job_.activations_on_disk ? job_.out.string() + ".activations" : "";
  calibrator_ = std::make_unique<BlockCalibrator>(config_, *backend_, std::move(calibration_.sequences),
                                                  spill, [this] { advance(1, doing_); });
}

void Pipeline::report(const ModuleReport& module) {
  summary_.modules.push_back(module);
  observer_.module(module);
}

void Pipeline::write_embedding() {
  const std::string name = embedding_module(config_);
  auto table = read_tensor(*checkpoint_, name + ".weight", {config_.vocab_size, config_.hidden_size});
  doing_ = "embedding";
  QuantizeOptions options = settings_.scheme == Scheme::spqr ? settings_.options : QuantizeOptions();
  QuantizedModule module;
  {
    const Stopwatch watch(summary_.times.solve);
    module = quantize_table(name, table, config_.vocab_size, config_.hidden_size, settings_.embedding,
                            options, nullptr);
  }
  if (!writer_->has(name)) {
    const Stopwatch watch(summary_.times.write);
    write_module(*writer_, module, "");
  }
  report(module.report);
  if (calibrated()) calibrator_->embed(table);
}

ModuleSink Pipeline::writing_sink() {
  return [this](const LinearGroupSpec& group, QuantizedModule module) {
    {
      const Stopwatch watch(summary_.times.write);
      write_module(*writer_, module, perm_name(group));
    }
    report(module.report);
    advance(1, module.report.module);
  };
}

void Pipeline::write_vectors(const std::vector<std::string>& names, BlockWeights& weights) {
  for (const std::string& name : names) {
    if (writer_->has(name)) continue;
    const std::vector<std::int64_t>& shape = checkpoint_->at(name).shape;
    if (shape.size() != 1)
      throw std::runtime_error(fmt::format("{}: tensor {} is no vector", checkpoint_->where(), name));
    const std::span<const float> values = weights.vector(name, shape[0]);
    writer_->add_dense(name, {values.data(), DType::f32, shape});
  }
}

void Pipeline::write_block(std::int64_t layer, const QuantizeOptions& options, const InputOf& stored) {
  BlockWeights weights(*checkpoint_);
  doing_ = fmt::format("block {}", layer);
  InputOf input = stored;
  if (!input && needs_calibration(settings_.scheme))
    input = calibrated_inputs(*calibrator_, layer, weights, settings_, summary_.times);
  quantize_block(config_, layer, weights, settings_.scheme, options, input, summary_.times, writing_sink(),
                 settings_.keep_sensitivity);
  {
    const Stopwatch watch(summary_.times.write);
    write_vectors(block_vectors(config_, layer), weights);
    writer_->checkpoint();
    ++finished_blocks_;
  }
  const bool needed = layer + 1 < layers() || head_is_solved();
  if (calibrated() && !stored && needed) {
    const Stopwatch watch(summary_.times.propagate);
    calibrator_->propagate(layer, weights);
  }
}

bool Pipeline::block_written(std::int64_t layer) const {
  for (const LinearGroupSpec& group : block_linears(config_, layer)) {
    for (const std::string& module : group.modules) {
      if (!writer_->has(module)) return false;
    }
  }
  return true;
}

// What the interrupted run noted of a module.
void Pipeline::report_resumed(const std::string& module) {
  const auto noted = noted_.find(module);
  if (noted != noted_.end()) return report(noted->second);
  throw std::runtime_error(fmt::format("{}: the partial file has no report of {}; quantize without --resume",
                                       job_.out.string(), module));
}

// The activations go through a block that the interrupted run finished, as the file has it.
void Pipeline::resume_block(std::int64_t layer) {
  doing_ = fmt::format("block {}", layer);
  double modules = 0;
  BlockWeights weights(*checkpoint_);
  for (const LinearGroupSpec& group : block_linears(config_, layer)) {
    for (std::size_t i = 0; i < group.modules.size(); ++i, ++modules) {
      report_resumed(group.modules[i]);
      if (!calibrated() || is_dense(settings_.scheme) || store_) continue;
      const PackedMatrix packed = writer_->read_packed(group.modules[i]);
      dequantize(packed.view(), writer_->read_perm(group.modules[i]),
                 weights.matrix(group.modules[i], group.m[i], group.n));
    }
  }
  if (calibrated() && !store_) calibrator_->propagate(layer, weights);
  advance(modules + (calibrated() && !store_ ? static_cast<double>(calibrator_->sequences()) : 0), doing_);
}

void Pipeline::write_blocks() {
  for (std::int64_t layer = 0; layer < layers(); ++layer) {
    if (block_written(layer)) {
      resume_block(layer);
    } else {
      write_block(layer, settings_.options, store_ ? stored_inputs(*store_, layer) : InputOf());
    }
  }
}

void Pipeline::write_head() {
  const std::int64_t n = config_.hidden_size;
  BlockWeights weights(*checkpoint_);
  const Norm norm = read_norm(config_, weights, final_norm_module(config_), n);
  write_vectors(norm_vectors(config_, final_norm_module(config_)), weights);
  if (config_.tie_word_embeddings) return;
  doing_ = "head";
  InputStatistics input;
  QuantizeOptions options = settings_.scheme == Scheme::spqr ? settings_.options : QuantizeOptions();
  const bool solved = head_is_solved();
  if (solved) {
    input.h = calibrator_->watch_head(norm).take();
    input.hessian = prepare_hessian(input.h, n, options.permutation, options.damp);
  }
  auto w = read_tensor(*checkpoint_, std::string(kHeadModule) + ".weight", {config_.vocab_size, n});
  const QuantizedModule module = quantize_table(kHeadModule, w, config_.vocab_size, n, settings_.head,
                                                options, solved ? &input : nullptr);
  write_module(*writer_, module, std::string(kHeadModule) + ".perm");
  report(module.report);
}

std::string Pipeline::quantization_json() const {
  nlohmann::json object = to_json(settings_);
  object["tool"] = "spqr.cpp";
  object["version"] = SPQR_VERSION;
  object["source_format"] = checkpoint_->format();
  if (searches()) object["outlier_threshold"] = settings_.options.outlier_threshold;
  if (calibrated()) {
    object["calibration"] = to_json(settings_.calibration, calibration_);
    object["calibration"]["sequences"] = calibrator_->sequences();
    object["calibration"]["tokens"] = summary_.calibration_tokens;
  }
  object.update(to_json(averages(summary_.modules)));
  for (const ModuleReport& module : summary_.modules) object["modules"].push_back(to_json(module));
  return to_text(object);
}

void Pipeline::finish() {
  SpqrFileInfo info{checkpoint_->config_json(), checkpoint_->tokenizer_files(), quantization_json()};
  if (untied_) info.config_json = untied_config(info.config_json);
  const Stopwatch watch(summary_.times.write);
  writer_->finish(info);
  if (store_) store_->remove();
}

QuantizeSummary Pipeline::run() {
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    if (searches()) require_reachable(config_, settings_);
    calibrate();
    open_writer();
    const double sequences = calibrated() ? static_cast<double>(calibrator_->sequences()) : 0;
    const double matrices = matrices_per_block();
    total_ =
        static_cast<double>(layers()) * (matrices * (searches() ? 2 + kExpectedTrials : 1) + 2 * sequences);
    write_embedding();
    if (searches()) search_threshold();
    write_blocks();
    write_head();
    finish();
  }
  summary_.times.total = seconds;
  summary_.average = averages(summary_.modules);
  summary_.outlier_threshold = settings_.options.outlier_threshold;
  summary_.file_bytes = std::filesystem::file_size(job_.out);
  observer_.progress(total_, total_, "done");
  return std::move(summary_);
}

// Leaves the statistics of all inputs in store_, and the threshold found in the options.
void Pipeline::search_threshold() {
  const std::filesystem::path path = job_.out.string() + ".hessians";
  store_ = std::make_unique<InputStore>(path, has_threshold_notes(*writer_));
  const auto advance_search = [this](double units, const std::string& what) { advance(units, what); };
  const ThresholdTask task{*checkpoint_, config_,        settings_,        *calibrator_,  *writer_,
                           *store_,      summary_.times, head_is_solved(), advance_search};
  const ThresholdSearch found = find_threshold(task);
  settings_.options.outlier_threshold = found.best();
  total_ =
      done_ + static_cast<double>(layers()) * matrices_per_block();  // trials may have been fewer or more
  observer_.tell(
      fmt::format("outlier threshold {:.4g} gives {:.3f} bits per weight", found.best(), found.best_bits()));
  if (std::abs(found.best_bits() - found.target()) > ThresholdSearch::kPromised * found.target()) {
    observer_.warn(fmt::format("{:.3f} bits per weight is the nearest to {:.3f} that a threshold gives",
                               found.best_bits(), found.target()));
  }
}

}  // namespace

QuantizeSummary quantize_model(const QuantizeJob& job, QuantizeObserver& observer) {
  return Pipeline(job, observer).run();
}

}  // namespace spqr
