// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::mk {
#define GEN_PASS_DEF_PLANWEIGHTS
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {

/// The tiles of one weight: where each lies in the streams, in units of kAlignment bytes, -1 if
/// nowhere yet.
struct Tiles {
  mk_task::WeightOp weight;
  KindOp kind;
  SmallVector<int64_t> offsets;
  int64_t tileWords; // of kAlignment bytes
};

struct WeightPlan {
  llvm::MapVector<Attribute, Tiles> tiles; // by weight
  DenseMap<Operation *, int64_t> streams;  // by task
  int64_t total = 0;                       // in units of kAlignment bytes

  /// Every tile has a place, and a task's tiles follow each other from where the task begins.
  LogicalResult verify() const;
  void dump(raw_ostream &os) const;
};

/// The declarations that a task leads to.
struct Declarations {
  llvm::MapVector<Attribute, mk_task::WeightOp> weights;
  DenseMap<Attribute, KindOp> kinds;
  DenseMap<Attribute, FamilyOp> families;

  explicit Declarations(ProgramOp program) {
    for (auto weight : program.getBody().getOps<mk_task::WeightOp>())
      weights[FlatSymbolRefAttr::get(weight)] = weight;
    for (auto kind : program.getBody().getOps<KindOp>())
      kinds[FlatSymbolRefAttr::get(kind)] = kind;
    for (auto family : program.getBody().getOps<FamilyOp>())
      families[FlatSymbolRefAttr::get(family)] = family;
  }
};

} // namespace

/// The segments of a kind again for each matrix of the weight: matrix m is rows [m * R, (m + 1) *
/// R).
static ArrayAttr repeatSegments(KindOp kind) {
  int64_t rows = cast<RankedTensorType>(kind.getStreamed().getType()).getShape().drop_back().back();
  SmallVector<Attribute> segments;
  for (int64_t m = 0; m < kind.getMatrices(); ++m)
    for (auto s : kind.getSegmentsAttr().getAsRange<SegmentAttr>())
      segments.push_back(SegmentAttr::get(kind.getContext(), s.getBase() + m * rows,
                                          s.getLimit() + m * rows, s.getOuter(), s.getStride(),
                                          s.getHalf(), s.getPartner(), s.getWhole()));
  return ArrayAttr::get(kind.getContext(), segments);
}

LogicalResult WeightPlan::verify() const {
  SmallVector<std::pair<int64_t, int64_t>> ranges;
  for (auto &[name, weight] : tiles)
    for (auto [unit, offset] : llvm::enumerate(weight.offsets)) {
      if (offset < 0)
        return KindOp(weight.kind).emitOpError()
               << "weight plan: expected a task for unit " << unit << " of " << name;
      ranges.push_back({offset, offset + weight.tileWords});
    }
  llvm::sort(ranges);
  int64_t end = 0;
  for (auto [from, to] : ranges) {
    if (from != end)
      return emitError(UnknownLoc::get(KindOp(tiles.front().second.kind).getContext()))
             << "weight plan: expected the tile after " << end << " to begin there, found " << from;
    end = to;
  }
  return success();
}

void WeightPlan::dump(raw_ostream &os) const {
  os << "weight plan: " << total * kAlignment << " bytes in streams\n";
  for (auto &[name, weight] : tiles)
    os << "  " << name << ": " << weight.offsets.size() << " tiles of "
       << weight.tileWords * kAlignment << " bytes\n";
}

static FailureOr<WeightPlan> planStreams(ProgramOp program, TargetAttr target,
                                         Declarations &declarations) {
  SmallVector<SmallVector<TaskOp>> tasksOf(target.getWorkers());
  for (auto task : program.getBody().getOps<TaskOp>())
    tasksOf[task.getWorker()].push_back(task);
  WeightPlan plan;
  for (ArrayRef<TaskOp> tasks : tasksOf)
    for (TaskOp task : tasks) {
      FamilyOp family = declarations.families[task.getFamilyAttr()];
      KindOp kind = declarations.kinds[family.getKindAttr()];
      Value streamed = kind.getStreamed();
      if (!streamed)
        continue;
      Attribute name = family.getOperands()[cast<BlockArgument>(streamed).getArgNumber()];
      auto [entry, isNew] = plan.tiles.insert({name, Tiles()});
      Tiles &tiles = entry->second;
      if (isNew) {
        mk_task::WeightOp weight = declarations.weights.lookup(name);
        if (weight.getLayout() != Layout::tiles)
          return family.emitOpError() << family.getSymNameAttr() << " multiplies by " << name
                                      << ": expected layout(tiles)";
        tiles = {weight, kind, SmallVector<int64_t>(kind.getMatrices() * *kind.getUnits(), -1),
                 getTileBytes(weight.getType(), target.getLanes()) / kAlignment};
      }
      plan.streams[task] = plan.total;
      for (int64_t matrix = 0; matrix < kind.getMatrices(); ++matrix)
        for (int64_t unit = task.getBegin(); unit < int64_t(task.getEnd()); ++unit) {
          int64_t number = matrix * *kind.getUnits() + unit;
          if (tiles.kind != kind || tiles.offsets[number] != -1)
            return family.emitOpError() << family.getSymNameAttr() << " streams " << name
                                        << ", as another family does; expected a copy of its own";
          tiles.offsets[number] = std::exchange(plan.total, plan.total + tiles.tileWords);
        }
    }
  return plan;
}

/// The runtime finds row r of a gathered weight in tile r / (2 * lanes): no permutation of rows may
/// be in the way.
static bool isPlain(Tiles &tiles, int64_t lanes) {
  if (!tiles.kind.getSegments() || tiles.kind.getSegments()->size() != 1)
    return false;
  auto segment = cast<SegmentAttr>(tiles.kind.getSegments()->getValue().front());
  return segment.getBase() == 0 && segment.getHalf() == lanes && segment.getPartner() == lanes &&
         segment.getStride() == 2 * lanes;
}

static LogicalResult applyPlan(ProgramOp program, WeightPlan &plan, int64_t lanes,
                               Declarations &declarations) {
  Builder builder(program.getContext());
  for (auto [task, offset] : plan.streams)
    cast<TaskOp>(task).setStreamOffset(offset);
  int64_t params = 0;
  auto allocate = [&](int64_t bytes) {
    return std::exchange(params, params + llvm::alignTo(bytes, kAlignment));
  };
  for (auto &[name, weight] : declarations.weights) {
    if (weight.getLayout() != Layout::tiles) {
      auto type = cast<RankedTensorType>(weight.getType());
      weight.setOffset(allocate(type.getNumElements() * (type.getElementTypeBitWidth() / 8)));
      continue;
    }
    auto tiles = plan.tiles.find(name);
    if (tiles == plan.tiles.end())
      return weight.emitOpError() << weight.getSymNameAttr()
                                  << " expected a task that streams its tiles";
    weight.setTileOffsets(tiles->second.offsets);
    weight.setSegmentsAttr(repeatSegments(tiles->second.kind));
    if (!weight.getGathered())
      continue;
    if (!isPlain(tiles->second, lanes))
      return weight.emitOpError() << weight.getSymNameAttr()
                                  << " is looked up by row: expected tiles of "
                                  << "neighbouring rows, found those of kind "
                                  << tiles->second.kind.getSymNameAttr();
    if (*llvm::max_element(tiles->second.offsets) > INT32_MAX)
      return weight.emitOpError() << weight.getSymNameAttr()
                                  << " is looked up by row: expected its tiles within 2^31 units "
                                  << "of " << kAlignment << " bytes of the streams, found "
                                  << plan.total;
    weight.setOffset(allocate(tiles->second.offsets.size() * sizeof(int32_t)));
  }
  program.setStream(plan.total * kAlignment);
  program.setParams(params);
  return success();
}

namespace {
struct PlanWeights : impl::PlanWeightsBase<PlanWeights> {
  using PlanWeightsBase::PlanWeightsBase;

  void runOnOperation() override {
    TargetAttr target = requireTarget(getOperation());
    if (!target)
      return signalPassFailure();
    for (auto program : getOperation().getOps<ProgramOp>()) {
      Declarations declarations(program);
      FailureOr<WeightPlan> plan = planStreams(program, target, declarations);
      if (failed(plan) || failed(plan->verify()) ||
          failed(applyPlan(program, *plan, target.getLanes(), declarations)))
        return signalPassFailure();
      if (dump)
        plan->dump(llvm::errs());
    }
  }
};
} // namespace
} // namespace mlir::mk
