// What a quantization is said to take, against what it takes.
#include "runtime/quantize_plan.h"

#include <doctest/doctest.h>

#include "runtime/synthetic.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"

namespace spqr {
namespace {

constexpr double kHeaderRoom = 1 << 20;

TEST_CASE("plan: small files are on disk twice before they are done") {
  const TemporaryDirectory directory;
  const GivenOptions cases[] = {{{"scheme", "f32"}},
                                {{"scheme", "rtn"}},
                                {{"scheme", "rtn"}, {"embedding-scheme", "rtn4"}, {"head-scheme", "f32"}},
                                {{"scheme", "spqr"}}};
  for (const GivenOptions& options : cases) {
    CAPTURE(options.begin()->second);
    const QuantizeJob job = stories_job(directory.path() / "q.spqr", options);
    class Observer final : public QuantizeObserver {
     public:
      void tell(const std::string& text) override { told += text; }
      std::string told;
    };
    Observer observer;
    const QuantizeSummary summary = quantize_model(job, observer);
    const double taken = kHeaderRoom + 2 * static_cast<double>(summary.file_bytes);
    const std::string& told = observer.told;
    const std::size_t comma = told.rfind("), ");
    REQUIRE(comma != std::string::npos);
    const double planned = std::stod(told.substr(comma + 3)) * 0x1p20;
    CHECK_MESSAGE(contains(told, " MiB of disk"), told);
    CHECK(planned > 0.95 * taken);
    CHECK(planned < 1.3 * taken);
  }
}

TEST_CASE("plan: large files are written once, as long as their header fits its room") {
  const std::uint64_t data = std::uint64_t{1} << 30U;
  CHECK(SpqrFileWriter::most_on_disk(data, 1000) < data + 2 * (1 << 20));
  CHECK(SpqrFileWriter::most_on_disk(data, 2 << 20) > 2 * data);
  const std::string shape = "llama-65b";
  const ModelConfig config = parse_config(synthetic_config(shape), shape);
  const QuantizePlan plan = plan_synthetic(config, resolve_quantize_options({{"preset", "3bit"}}));
  CHECK(plan.disk() < plan.file + 3 * (1 << 20));
}

TEST_CASE("plan: what an interrupted run left on disk is room") {
  const TemporaryDirectory directory;
  const auto out = directory.path() / "q.spqr";
  const std::uintmax_t free = std::filesystem::space(directory.path()).available;
  constexpr std::uintmax_t kGone = std::uintmax_t{1} << 40U;
  const QuantizePlan plan{.file = free + kGone / 2};
  CHECK(contains(message_of([&] { require_room(plan, out); }), "on disk, but only"));
  directory.write("q.spqr.partial", "");
  std::error_code error;
  std::filesystem::resize_file(directory.path() / "q.spqr.partial", kGone, error);  // takes no blocks
  if (!error) CHECK(message_of([&] { require_room(plan, out); }) == "no error");
}

}  // namespace
}  // namespace spqr
