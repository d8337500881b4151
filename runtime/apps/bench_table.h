// Rows of measurements as a table for people or as lines for programs, each as soon as it is there.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace spqr {

using BenchRow = nlohmann::ordered_json;  // an object; all rows of a table have the same keys

enum class TableFormat : std::uint8_t { md, csv, json, jsonl };

// Throws UsageError for another name.
TableFormat table_format(const std::string& name);

// Of a md table.
struct BenchColumn {
  std::string title;
  std::function<std::string(const BenchRow& row)> text;
};
// The value of `key` as it is; nothing for null.
BenchColumn value_column(std::string title, std::string key);

class BenchTable {
 public:
  // columns: of md; csv has all keys whose values are neither arrays nor objects, the others have all keys.
  BenchTable(TableFormat format, std::vector<BenchColumn> columns)
      : format_(format), columns_(std::move(columns)) {}

  // What is to be printed now that there is one row more.
  std::string add(const BenchRow& row);
  // What is to be printed after the last row, however many there were.
  std::string end() const;

 private:
  std::string header(const BenchRow& row) const;

  TableFormat format_;
  std::vector<BenchColumn> columns_;
  std::vector<BenchRow> rows_;
};

}  // namespace spqr
