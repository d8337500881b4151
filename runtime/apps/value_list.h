// Options that take several values: what is measured is measured with each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spqr {

// "1,2,4", "first-last", "first-last+step", "first-last*factor", and any of them with commas between, as
// llama-bench has them: "0,512-4096*2" is 0, 512, 1024, 2048, 4096. `name` is the option's, for errors.
// Throws UsageError for anything else, for values outside of least .. most, and for more than 1000 of them.
std::vector<std::int64_t> integer_list(const std::string& name, const std::string& text, std::int64_t least,
                                       std::int64_t most);

// The parts between commas. Throws UsageError where one is empty.
std::vector<std::string> text_list(const std::string& name, const std::string& text);

}  // namespace spqr
