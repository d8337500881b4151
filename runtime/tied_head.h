// A head that is tied to the embedding: one table in the file, or two where they are to be stored in two
// ways.
#pragma once

#include <string>

#include "models/config.h"
#include "runtime/quantize_options.h"

namespace spqr {

// A tied head follows the embedding unless it is asked for in another way; then it is no longer tied, and
// true is returned.
bool settle_head(QuantizeSettings& settings, ModelConfig& config);

// config.json of the model whose head is no longer tied.
std::string untied_config(const std::string& config_json);

}  // namespace spqr
