// What a person typed, read as cxxopts reads it: llama.cpp's names are understood, and wrong ones are named.
#pragma once

// Options that may be given several times take each value whole: no separator inside it.
#define CXXOPTS_VECTOR_DELIMITER '\0'
// Its own parser: regular expressions take half of the time that a tool takes to compile.
#define CXXOPTS_NO_REGEX
#include <cstring>  // which that one lacks
#include <cxxopts.hpp>
#include <stdexcept>

namespace spqr {

// Wrong options: exit status 2, and a pointer to --help.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws UsageError, and what cxxopts throws.
cxxopts::ParseResult parse_arguments(cxxopts::Options& options, int argc, char** argv);

}  // namespace spqr
