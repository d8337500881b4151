// Models that tests run: .spqr files of dense weights, made from the fixtures.
#pragma once

#include <filesystem>
#include <string>

#include "kernels/tensor.h"

namespace spqr {

// A checkpoint as a .spqr file, matrices of `dtype`. `checkpoint` and `tokenizer` are relative to the
// fixtures; without a tokenizer the model has none. `change`: of the values of matrices.
void write_dense_model(const std::string& checkpoint, const std::string& tokenizer, DType dtype,
                       const std::filesystem::path& out, float (*change)(float) = nullptr);

// The trained model of 260 thousand weights, with its tokenizer; f32.
void write_stories_model(const std::filesystem::path& out);

}  // namespace spqr
