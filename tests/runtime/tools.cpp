#include "tests/runtime/tools.h"

#include <doctest/doctest.h>

#include "tests/models/files.h"

namespace spqr {

Arguments command(const std::string& tool, const Arguments& arguments) {
  Arguments all{std::string(SPQR_BIN) + "/" + tool};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

Finished run(const std::string& tool, const Arguments& arguments) {
  return run_process(command(tool, arguments));
}

void check_refused(const std::string& tool, const Arguments& arguments, int status, const std::string& part) {
  const Finished result = run(tool, arguments);
  std::string line = tool;
  for (const std::string& argument : arguments) line += " " + argument;
  CAPTURE(line);
  CAPTURE(result.err);
  CHECK(result.status == status);
  CHECK(result.out.empty());
  CHECK(result.err.starts_with(tool + ": error: "));
  CHECK(contains(result.err, part));
  CHECK(result.err.find('\n') == result.err.size() - 1);
}

}  // namespace spqr
