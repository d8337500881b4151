#include "runtime/branches.h"

#include <fmt/core.h>

#include <stdexcept>

namespace spqr {

BranchTape::BranchTape(std::span<const Branch> branches, std::int64_t context) {
  std::int64_t length = 0;
  for (const Branch& branch : branches) {
    const auto tokens = static_cast<std::int64_t>(branch.ids.size());
    if (tokens == 0 || branch.first < 0 || branch.first > length) {
      throw std::invalid_argument(
          fmt::format("a branch of {} tokens behind {} of {}", tokens, branch.first, length));
    }
    if (tokens > context - branch.first) {
      throw std::out_of_range(
          fmt::format("{} tokens after {} do not fit a context of {}", tokens, branch.first, context));
    }
    ids_.insert(ids_.end(), branch.ids.begin(), branch.ids.end());
    length = branch.first;
    while (length < branch.first + tokens) positions_.push_back(length++);
  }
}

std::span<const std::int32_t> BranchTape::ids(std::int64_t first, std::int64_t tokens) const {
  return std::span(ids_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens));
}

std::vector<Positions> BranchTape::positions(std::int64_t first, std::int64_t tokens) const {
  std::vector<Positions> found;
  for (const std::int64_t position :
       std::span(positions_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens))) {
    if (found.empty() || position != found.back().first + found.back().tokens) found.push_back({position, 0});
    ++found.back().tokens;
  }
  return found;
}

}  // namespace spqr
