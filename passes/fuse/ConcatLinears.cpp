// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-concat-linears: one linear for all that read the same rows.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/analysis/Conditions.h"
#include "passes/fuse/MoveUp.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::mk {
#define GEN_PASS_DEF_CONCATLINEARS
#include "passes/Passes.h.inc"

// Linears of one block with the same key meet the same rows, rounded alike.
using Key = std::tuple<Value, Type, int64_t>;

static bool isPlain(LinearOp linear) {
  return linear.getPrologue().empty() && linear.getEpilogue().empty() &&
         cast<RankedTensorType>(linear.getResultTypes().front()).getElementType().isF32();
}

static void concat(MutableArrayRef<LinearOp> linears) {
  OpBuilder builder(linears.front());
  SmallVector<Value> weights;
  SmallVector<Location> locations;
  int64_t columns = 0;
  for (LinearOp linear : linears) {
    llvm::append_range(weights, linear.getWeights());
    locations.push_back(linear.getLoc());
    columns += linear.getOuterSize();
  }
  auto type = RankedTensorType::get({ShapedType::kDynamic, columns}, builder.getF32Type());
  auto joined = builder.create<LinearOp>(builder.getFusedLoc(locations), TypeRange(type),
                                         linears.front().getInput(), weights);
  int64_t offset = 0;
  for (LinearOp linear : linears) {
    Value result = linear.getResult(0);
    result.replaceAllUsesWith(
        builder.create<SliceOp>(linear.getLoc(), result.getType(), joined.getResult(0), offset));
    offset += getColumns(result);
  }
  for (LinearOp linear : linears)
    linear.erase();
}

// An instruction holds 15 operands. The heads of queries, keys and values with their biases, the
// cache and what goes with it leave no room for another bias.
static constexpr int64_t kMostBiases = 3;

static bool hasVector(LinearOp linear) {
  return llvm::any_of(linear->getUsers(), [](Operation *user) {
    return isElementwise(user) && llvm::any_of(user->getOperandTypes(), [](Type type) {
             return cast<RankedTensorType>(type).getRank() == 1;
           });
  });
}

// Groups with few biases, in order.
static SmallVector<SmallVector<LinearOp>> cutByBiases(ArrayRef<LinearOp> linears) {
  SmallVector<SmallVector<LinearOp>> groups(1);
  int64_t biases = 0;
  for (LinearOp linear : linears) {
    if (hasVector(linear) && ++biases > kMostBiases) {
      groups.emplace_back();
      biases = 1;
    }
    groups.back().push_back(linear);
  }
  return groups;
}

static void concatIn(Block &block) {
  llvm::MapVector<Key, SmallVector<LinearOp>> groups;
  for (auto linear : block.getOps<LinearOp>())
    if (isPlain(linear))
      groups[{linear.getInput(), linear.getWeightType(), linear.getInnerSize()}].push_back(linear);
  // What one side of an mk.choose needs is not computed for the other.
  moveDecisionsUp(block);
  Conditions conditions(block);
  for (auto &[key, all] : groups)
    for (ArrayRef<LinearOp> left = all; !left.empty();) {
      ArrayRef<Side> sides = conditions.of(left.front());
      auto *rest = std::stable_partition(all.end() - left.size(), all.end(), [&](LinearOp linear) {
        return llvm::equal(conditions.of(linear), sides);
      });
      ArrayRef<LinearOp> alike = left.take_front(rest - left.begin());
      left = left.drop_front(alike.size());
      for (SmallVector<LinearOp> &group : cutByBiases(alike)) {
        // The joined linear stands where the first one did.
        LinearOp first = group.front();
        llvm::erase_if(group,
                       [&](LinearOp linear) { return failed(moveUp(linear.getWeights(), first)); });
        if (group.size() > 1)
          concat(group);
      }
    }
}

namespace {
struct ConcatLinears : impl::ConcatLinearsBase<ConcatLinears> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody())
      concatIn(block);
  }
};
} // namespace
} // namespace mlir::mk
