// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/Cost.h"
#include <numeric>

namespace mlir::mk {
#define GEN_PASS_DEF_ASSIGNWORKERS
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {

/// One family's cut: part p, units [bounds[p], bounds[p + 1]), is worker (p + first) % workers'.
struct Cut {
  FamilyOp family;
  int64_t units;
  SmallVector<int64_t> bounds;
  int64_t first = 0;
  size_t worker(size_t part) const { return (part + first) % (bounds.size() - 1); }
};

/// Who runs what, and what each worker has read by the end of a step.
struct Assignment {
  SmallVector<Cut> cuts;
  SmallVector<double> load;
  double tolerance = 0; // by how much loads may differ

  /// Every unit has one worker, and the loads differ by no more than the tolerance.
  LogicalResult verify() const;
  void dump(raw_ostream &os) const;
};

} // namespace

LogicalResult Assignment::verify() const {
  for (const Cut &cut : cuts)
    if (cut.bounds.front() != 0 || cut.bounds.back() != cut.units || !llvm::is_sorted(cut.bounds))
      return FamilyOp(cut.family).emitOpError()
             << "assignment: expected each of " << cut.units << " units once";
  auto [least, most] = std::minmax_element(load.begin(), load.end());
  if (*most - *least > tolerance)
    return FamilyOp(cuts.back().family).emitOpError()
           << "assignment: expected loads within " << tolerance << " bytes, found "
           << *most - *least;
  return success();
}

void Assignment::dump(raw_ostream &os) const {
  for (const Cut &cut : cuts) {
    os << FamilyOp(cut.family).getSymName() << ":";
    for (int64_t bound : cut.bounds)
      os << " " << bound;
    os << "\n";
  }
  for (auto [worker, bytes] : llvm::enumerate(load))
    os << "worker " << worker << ": " << int64_t(bytes) << " bytes a step\n";
}

/// Bounds such that every worker's running total comes as near to the mean as whole units allow.
static SmallVector<int64_t> balance(int64_t units, double cost, ArrayRef<double> load) {
  double mean = (std::accumulate(load.begin(), load.end(), 0.0) + units * cost) / load.size();
  double wanted = 0;
  for (double done : load)
    wanted += std::max(0.0, mean - done);
  SmallVector<int64_t> bounds = {0};
  double share = 0;
  for (double done : load) {
    // A worker beyond the mean gets nothing; the others give up in proportion what it has too much.
    share += std::max(0.0, mean - done);
    bounds.push_back(wanted > 0 ? std::llround(share / wanted * units) : 0);
  }
  bounds.back() = units;
  return bounds;
}

/// Every worker the same number of units, and those with the least load one more. Where an operator
/// takes a worker but a few units, all others wait for who has one more than these.
static SmallVector<int64_t> deal(int64_t units, ArrayRef<double> load) {
  int64_t workers = load.size(), rest = units % workers;
  SmallVector<int64_t> byLoad(workers);
  std::iota(byLoad.begin(), byLoad.end(), 0);
  llvm::stable_sort(byLoad, [&](int64_t a, int64_t b) { return load[a] < load[b]; });
  SmallVector<int64_t> bounds(workers + 1, units / workers);
  bounds[0] = 0;
  for (int64_t worker : ArrayRef<int64_t>(byLoad).take_front(rest))
    ++bounds[worker + 1];
  std::partial_sum(bounds.begin(), bounds.end(), bounds.begin());
  return bounds;
}

/// Units that only one worker together may run: those of one block of a partial maximum.
static int64_t getGranule(KindOp kind, int64_t lanes) {
  int64_t granule = 1;
  kind.walk([&](ArgmaxPartialOp partial) {
    if (partial->getParentOp() != kind)
      granule = std::max<int64_t>(granule, int64_t(partial.getBlock()) / (2 * lanes));
  });
  return granule;
}

/// A unit is a head: more than a few columns.
static bool isOfHeads(KindOp kind) {
  ArrayAttr segments = kind.getSegmentsAttr();
  return segments && llvm::all_of(segments.getAsRange<SegmentAttr>(),
                                  [](SegmentAttr segment) { return segment.getWhole(); });
}

/// Whether enough work is in a family of the class columns to spread it. Heads are spread even
/// where there are more workers.
static bool isWorthSpreading(KindOp kind, const CostModel &cost) {
  int64_t workers = cost.target.getWorkers(), units = *kind.getUnits();
  if (units < workers && !isOfHeads(kind))
    return false;
  double most = cost.unit(kind, cost.maxRows(kind)) * units;
  return cost.target.isGpu() || most / std::min(units, workers) > cost.event();
}

static SmallVector<int64_t> onOneWorker(int64_t units, size_t worker, size_t workers) {
  SmallVector<int64_t> bounds(workers + 1, 0);
  std::fill(bounds.begin() + worker + 1, bounds.end(), units);
  return bounds;
}

static FailureOr<Assignment> assign(ProgramOp program, const CostModel &cost) {
  size_t workers = cost.target.getWorkers();
  Assignment assignment;
  assignment.load.assign(workers, 0.0);
  llvm::StringMap<KindOp> kinds;
  for (auto kind : program.getBody().getOps<KindOp>())
    kinds[kind.getSymName()] = kind;
  double largest = 0;
  std::optional<size_t> alone; // the worker of the family before, if it has but one
  // A step with few tokens has attention for the first shares only: not the same workers in every
  // layer. The golden ratio spreads any number of layers evenly.
  int64_t apart = std::llround(workers * 0.6180339887498949), attends = 0, first = 0;
  for (auto family : program.getBody().getOps<FamilyOp>()) {
    KindOp kind = kinds.lookup(family.getKind());
    if (!kind.getUnits())
      return family.emitOpError() << "expected units on kind " << family.getKindAttr()
                                  << "; run mk-tile first";
    int64_t units = *kind.getUnits();
    double unit = cost.unit(kind, /*rows=*/1);
    Cut cut{family, units, {}};
    if (kind.getKindClass() == KindClass::tiles || kind.getKindClass() == KindClass::experts) {
      int64_t granule = getGranule(kind, cost.target.getLanes());
      unit *= granule;
      int64_t granules = llvm::divideCeil(units, granule);
      cut.bounds = cost.target.isGpu() ? deal(granules, assignment.load)
                                       : balance(granules, unit, assignment.load);
      for (int64_t &bound : cut.bounds)
        bound = std::min(bound * granule, units);
      unit /= granule;
      assignment.tolerance += 2 * unit * (granule - 1);
    } else if (kind.getKindClass() == KindClass::attend ||
               (kind.getKindClass() == KindClass::columns && isWorthSpreading(kind, cost))) {
      // Its work is in steps with many rows: those are balanced, not the step with one row.
      for (size_t w = 0; w <= workers; ++w)
        cut.bounds.push_back(units * w / workers);
      if (kind.getKindClass() == KindClass::attend && cost.target.isGpu()) {
        first = apart * attends++ % workers;
        cut.first = first;
      } else if (isOfHeads(kind) && cost.target.isGpu() && units < int64_t(workers)) {
        // Keys that attention stores for later steps: by those who have the last shares of it.
        cut.first = first;
        for (size_t w = 0; w <= workers; ++w)
          cut.bounds[w] = std::max<int64_t>(0, units - int64_t(workers - w));
      }
      assignment.tolerance += unit;
    } else {
      // One small family after another on the same worker needs no event in between.
      if (!alone)
        alone = std::min_element(assignment.load.begin(), assignment.load.end()) -
                assignment.load.begin();
      cut.bounds = onOneWorker(units, *alone, workers);
      unit = 0; // too small to be worth a unit of anything else
    }
    if (unit)
      alone.reset();
    largest = std::max(largest, unit);
    for (size_t w = 0; w < workers; ++w)
      assignment.load[cut.worker(w)] += unit * (cut.bounds[w + 1] - cut.bounds[w]);
    assignment.cuts.push_back(std::move(cut));
  }
  // Rounding leaves each worker within one unit of its share; a last family may be too small to
  // make up for it.
  assignment.tolerance += 2 * largest;
  return assignment;
}

static void createTasks(ProgramOp program, const Assignment &assignment) {
  OpBuilder builder = OpBuilder::atBlockEnd(&program.getBody().front());
  ArrayAttr none = builder.getArrayAttr({});
  for (const Cut &cut : assignment.cuts)
    for (size_t w = 0; w + 1 < cut.bounds.size(); ++w)
      if (cut.bounds[w] < cut.bounds[w + 1])
        builder.create<TaskOp>(
            FamilyOp(cut.family).getLoc(), FlatSymbolRefAttr::get(FamilyOp(cut.family)),
            builder.getI64IntegerAttr(cut.bounds[w]), builder.getI64IntegerAttr(cut.bounds[w + 1]),
            builder.getI64IntegerAttr(cut.worker(w)), none, none, /*hints=*/ArrayAttr(), none,
            IntegerAttr());
}

namespace {
struct AssignWorkers : impl::AssignWorkersBase<AssignWorkers> {
  using AssignWorkersBase::AssignWorkersBase;

  void runOnOperation() override {
    CostModel cost{requireTarget(getOperation()), requireOptions(getOperation())};
    if (!cost.target || !cost.options)
      return signalPassFailure();
    for (auto program : getOperation().getOps<ProgramOp>()) {
      FailureOr<Assignment> assignment = assign(program, cost);
      if (failed(assignment) || failed(assignment->verify()))
        return signalPassFailure();
      if (dump)
        assignment->dump(llvm::errs());
      createTasks(program, *assignment);
    }
  }
};
} // namespace
} // namespace mlir::mk
