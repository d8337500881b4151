#include "runtime/apps/bench_operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "runtime/apps/value_list.h"

namespace spqr {
namespace {

constexpr std::int64_t kMostExtent = std::int64_t{1} << 24;
constexpr std::int64_t kMostHeads = 4096;  // and values of one

class Shape {
 public:
  // "4096x11008"
  explicit Shape(std::string typed) : typed_(std::move(typed)) {
    for (std::size_t begin = 0; begin <= typed_.size();) {
      const std::size_t end = std::min(typed_.find('x', begin), typed_.size());
      extents_.push_back(extent(typed_.substr(begin, end - begin)));
      begin = end + 1;
    }
    check();
  }
  const std::vector<std::int64_t>& extents() const { return extents_; }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw UsageError(fmt::format("--shape is '{}', {}", typed_, why));
  }

  std::int64_t extent(const std::string& part) const {
    if (part.empty() || part.find_first_not_of("0123456789") != std::string::npos)
      refuse("expected such as 4096x11008 or 32x8x128");
    return integer_list("--shape", part, 1, kMostExtent).front();
  }

  void check() const {
    if (extents_.size() != 2 && extents_.size() != 3) refuse("expected such as 4096x11008 or 32x8x128");
    if (extents_.size() == 3 && std::ranges::max(extents_) > kMostHeads)
      refuse(fmt::format("expected no more than {} of each", kMostHeads));
    if (extents_.size() == 3 && extents_[0] % extents_[1] != 0)
      refuse(fmt::format("but {} heads are no multiple of {} KV heads", extents_[0], extents_[1]));
  }

  std::string typed_;
  std::vector<std::int64_t> extents_;
};

class OperationReader {
 public:
  OperationReader(const cxxopts::ParseResult& parsed, OptionLists& lists) : parsed_(parsed), lists_(lists) {}

  std::vector<OperationCase> read() {
    if (parsed_.count("shape") == 0) throw UsageError("--op needs --shape, such as 4096x11008");
    outlier_share_ = parsed_["outliers"].as<double>() / 100;
    if (!(outlier_share_ >= 0 && outlier_share_ <= 1))
      throw UsageError(fmt::format("--outliers is {}, expected 0 to 100", 100 * outlier_share_));
    formats_ = formats();
    prompts_ = lists_.integers("n-prompt", 1, kMostTokens);
    depths_ = lists_.integers("n-depth", 0, kMostTokens);
    std::vector<std::vector<std::int64_t>> shapes;
    for (const std::string& shape : lists_.texts("shape")) shapes.push_back(Shape(shape).extents());
    for (const std::string& name : lists_.texts("op")) {
      const std::optional<Operation> operation = operation_of(name);
      if (!operation)
        throw UsageError(fmt::format("there is no operation '{}' to measure; there are {}", name,
                                     fmt::join(operation_names(), ", ")));
      const std::size_t dimensions = *operation == Operation::attention ? 3 : 2;
      const std::size_t before = cases_.size();
      for (const auto& shape : shapes) {
        if (shape.size() == dimensions) add_cases(*operation, shape);
      }
      if (cases_.size() == before)
        throw UsageError(
            fmt::format("{} needs a --shape such as {}", name, dimensions == 3 ? "32x8x128" : "4096x11008"));
    }
    return std::move(cases_);
  }

 private:
  std::vector<std::int64_t> group_columns() {
    std::vector<std::int64_t> columns;
    for (const std::string& part : lists_.texts("beta1")) {
      if (part == "row") {
        columns.push_back(SpqrFormat::kWholeRow);
        continue;
      }
      const auto some = integer_list("--beta1", part, 1, kMostExtent);
      columns.insert(columns.end(), some.begin(), some.end());
    }
    lists_.note("beta1", columns.size());
    return columns;
  }

  std::vector<SpqrFormat> formats() {
    std::vector<SpqrFormat> all;
    const auto beta1 = group_columns();
    const auto beta2 = lists_.integers("beta2", 1, 64);
    const auto scale_bits = lists_.integers("scale-bits", 1, 16);
    const auto zero_bits = lists_.integers("zero-bits", 1, 16);
    for (const std::int64_t bits : lists_.integers("bits", 1, 16)) {
      for (const std::int64_t columns : beta1) {
        for (const std::int64_t rows : beta2) {
          for (const std::int64_t scale : scale_bits) {
            for (const std::int64_t zero : zero_bits)
              all.push_back({static_cast<int>(bits), columns, static_cast<int>(rows), static_cast<int>(scale),
                             static_cast<int>(zero)});
          }
        }
      }
    }
    for (const SpqrFormat& format : all) check(format);
    return all;
  }

  static void check(const SpqrFormat& format) {
    try {
      validate(format);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  }

  void add_cases(Operation operation, const std::vector<std::int64_t>& shape) {
    OperationCase one{.operation = operation};
    const bool matvec = operation == Operation::spqr_matvec || operation == Operation::dense_matvec;
    for (const std::int64_t tokens : matvec ? std::vector<std::int64_t>{1} : prompts_) {
      one.tokens = tokens;
      if (operation == Operation::attention) {
        one.heads = shape[0];
        one.kv_heads = shape[1];
        one.head_dim = shape[2];
        for (const std::int64_t depth : depths_) add(one, &OperationCase::depth, depth);
        continue;
      }
      one.m = shape[0];
      one.n = shape[1];
      one.outlier_share = is_packed(operation) ? outlier_share_ : 0;
      if (!is_packed(operation)) cases_.push_back(one);
      for (const SpqrFormat& format : is_packed(operation) ? formats_ : std::vector<SpqrFormat>{})
        add(one, &OperationCase::format, format);
    }
  }

  template <typename Member, typename Value>
  void add(OperationCase one, Member member, const Value& value) {
    one.*member = value;
    cases_.push_back(one);
  }

  const cxxopts::ParseResult& parsed_;
  OptionLists& lists_;
  double outlier_share_ = 0;
  std::vector<SpqrFormat> formats_;
  std::vector<std::int64_t> prompts_, depths_;
  std::vector<OperationCase> cases_;
};

}  // namespace

std::vector<OperationCase> operation_cases(const cxxopts::ParseResult& parsed, OptionLists& lists) {
  return OperationReader(parsed, lists).read();
}

}  // namespace spqr
