#include "runtime/apps/bench_table.h"

#include <fmt/format.h>

#include <array>

#include "runtime/apps/arguments.h"

namespace spqr {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"md", "csv", "json", "jsonl"};

// Valid UTF-8 whatever the strings hold.
std::string dump(const BenchRow& value, int indent) {
  return value.dump(indent, ' ', false, BenchRow::error_handler_t::replace);
}

std::string plain(const BenchRow& value) {
  if (value.is_null()) return "";
  return value.is_string() ? value.get<std::string>() : dump(value, -1);
}

// As RFC 4180 has it.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

template <typename Field>
std::string csv_line(const BenchRow& row, const Field& field) {
  std::vector<std::string> fields;
  for (const auto& [key, value] : row.items()) {
    if (!value.is_structured()) fields.push_back(csv_field(field(key, value)));
  }
  return fmt::format("{}\n", fmt::join(fields, ","));
}

std::string md_line(const std::vector<BenchColumn>& columns,
                    const std::function<std::string(const BenchColumn&)>& cell) {
  std::string line = "|";
  for (const BenchColumn& column : columns) line += fmt::format(" {} |", cell(column));
  return line + '\n';
}

}  // namespace

TableFormat table_format(const std::string& name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<TableFormat>(i);
  }
  throw UsageError(fmt::format("-o is '{}', expected one of {}", name, fmt::join(kNames, ", ")));
}

BenchColumn value_column(std::string title, std::string key) {
  return {std::move(title), [key = std::move(key)](const BenchRow& row) { return plain(row.at(key)); }};
}

std::string BenchTable::header(const BenchRow& row) const {
  if (format_ == TableFormat::csv)
    return csv_line(row, [](const std::string& key, const BenchRow&) { return key; });
  if (format_ != TableFormat::md) return "";
  return md_line(columns_, [](const BenchColumn& column) { return column.title; }) +
         md_line(columns_, [](const BenchColumn&) { return "---"; });
}

std::string BenchTable::add(const BenchRow& row) {
  const std::string before = rows_.empty() ? header(row) : "";
  rows_.push_back(row);
  switch (format_) {
    case TableFormat::md:
      return before + md_line(columns_, [&](const BenchColumn& column) { return column.text(row); });
    case TableFormat::csv:
      return before + csv_line(row, [](const std::string&, const BenchRow& value) { return plain(value); });
    case TableFormat::jsonl:
      return dump(row, -1) + '\n';
    default:
      return "";
  }
}

std::string BenchTable::end() const {
  return format_ == TableFormat::json ? dump(rows_, 1) + '\n' : "";
}

}  // namespace spqr
