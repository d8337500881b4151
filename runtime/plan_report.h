// A plan of a model's memory as text and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/stage_plan.h"

namespace spqr {

// refusal: why it does not fit (refusal_of), or empty.
nlohmann::json to_json(const ModelPlan& plan, const PlannedModel& model, const std::string& refusal);
std::string to_text(const ModelPlan& plan, const PlannedModel& model);

}  // namespace spqr
