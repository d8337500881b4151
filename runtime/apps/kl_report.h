// What a comparison with another model's predictions prints.
#pragma once

#include <nlohmann/json.hpp>

#include "runtime/kl_divergence.h"

namespace spqr {

void print_report(const KlDivergence& result);
// Members of the object that --json prints: mean_kl and mean_kl_error, ...
nlohmann::json report_members(const KlDivergence& result);

}  // namespace spqr
