// The weights of a model that nobody has made: their shapes, formats and sizes, and no values. What is
// planned with, on a CountingBackend.
#pragma once

#include <memory>

#include "models/model.h"
#include "runtime/quantize_options.h"

namespace spqr {

// As write_synthetic() would make them; both arguments live as long. Addresses in views are of no memory:
// nobody may read there.
std::unique_ptr<WeightSource> planned_weights(const ModelConfig& config, const QuantizeSettings& settings);

}  // namespace spqr
