// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/RingSteps.h"
#include "passes/gpu/AttendItems.h"

using namespace mlir;
using namespace mlir::mk;

/// So many, from the first to the last.
static SmallVector<int64_t> someExperts(const RingChoices &choices, int64_t count) {
  SmallVector<int64_t> result;
  for (int64_t i = 0; i < std::min(count, choices.fewestExperts); ++i)
    result.push_back(count < choices.fewestExperts
                         ? i * (choices.fewestExperts - 1) / std::max<int64_t>(1, count - 1)
                         : i);
  return result;
}

static void addSides(SmallVector<RingStep> &steps, const RingChoices &choices) {
  SmallVector<RingStep> others(steps);
  for (RingStep &step : others)
    step.otherwise = false;
  steps.append(others);
  for (const Asked &conditions : choices.asked)
    for (size_t failing = 0; failing <= conditions.size(); ++failing) {
      RingStep step = steps.front();
      step.sides = conditions;
      if (failing < conditions.size())
        step.sides[failing].second ^= true;
      steps.push_back(step);
    }
}

SmallVector<RingStep> mk::stepsOf(OptionsAttr options, ArrayRef<mk_task::KindOp> kinds,
                                  const RingChoices &choices, int64_t most) {
  SmallVector<int64_t> sorts, few;
  SmallVector<int64_t> borders = {0, options.getPage(), options.getSplit(), 2 * options.getSplit(),
                                  options.getMaxLength()};
  for (mk_task::KindOp kind : kinds)
    if (auto attend = dyn_cast<AttendOp>(kind.getAnchor()); attend && attend.getWindow())
      for (int64_t ranges : {0, 1}) // where windows leave a position, and a range
        borders.push_back(attend.getWindow() + ranges * options.getSplit());
  for (int64_t border : borders)
    for (int64_t position : {border - 1, border, border + 1})
      if (position >= 0 && position < options.getMaxLength() &&
          !llvm::is_contained(sorts, position)) {
        sorts.push_back(position);
        if (border <= options.getSplit())
          few.push_back(position);
      }
  SmallVector<RingStep> result;
  for (int64_t tokens = 1; tokens <= most; ++tokens) {
    RingStep step{tokens, std::min(tokens, options.getMaxRows()), {}, someExperts(choices, tokens)};
    for (int64_t t = 0; t < tokens; ++t)
      step.positions.push_back(few[(t + tokens) % few.size()]);
    result.push_back(step);
  }
  std::set<int64_t> far;
  for (mk_task::KindOp kind : kinds)
    if (auto attend = dyn_cast<AttendOp>(kind.getAnchor());
        attend && most > kGroupRows && AttendItems::joins(kind))
      for (int64_t ranges : {int64_t(2), AttendItems::roomFor(attend)})
        for (int64_t position : {ranges * options.getSplit() - 1, ranges * options.getSplit()})
          far.insert(std::min(position, options.getMaxLength() - 1));
  for (int64_t position : far)
    for (int64_t tokens : {kGroupRows + 1, most}) {
      RingStep step = result[tokens - 1];
      for (int64_t t = 0; t < tokens; t += 2)
        step.positions[t] = position;
      result.push_back(step);
    }
  for (int64_t position : sorts)
    result.push_back({1, 1, {position}, someExperts(choices, 2)});
  if (choices.fewestExperts)
    for (int64_t count : {int64_t(0), choices.fewestExperts})
      result.push_back({1, 1, {0}, someExperts(choices, count)});
  result.push_back({1, 0, {0}, {}});
  if (!choices.asked.empty())
    addSides(result, choices);
  return result;
}
