// A checkpoint as a source of dense weights, read into memory of its own as a model asks for them.
#pragma once

#include <memory>

#include "models/checkpoint.h"
#include "models/model.h"

namespace spqr {

// Matrices are stored as `dtype` (f32, f16 or bf16; rounded to it where the checkpoint has more), vectors as
// f32. What was asked for once is kept while the source lives; the checkpoint has to live as long. Its
// methods throw std::runtime_error for a tensor that is missing or has another shape.
std::unique_ptr<WeightSource> make_weight_source(const Checkpoint& checkpoint, DType dtype);

}  // namespace spqr
