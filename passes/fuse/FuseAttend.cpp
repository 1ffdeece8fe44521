// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-attend: norms and rotations of the heads that attention reads, as its prologue.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEATTEND
#include "passes/Passes.h.inc"

namespace {
/// Ops on heads, each reading the one before, and the rows that the first of them reads.
struct Chain {
  Value rows;
  SmallVector<Operation *> ops;
  bool hasNorm = false;
};
} // namespace

static bool worksOnHeads(Operation *op, int64_t headDim) {
  if (auto norm = dyn_cast_or_null<HeadNormOp>(op))
    return int64_t(norm.getHeadDim()) == headDim;
  auto rope = dyn_cast_or_null<RopeOp>(op); // of whole heads
  return rope && int64_t(rope.getHeadDim()) == headDim && 2 * rope.getPairs() == headDim &&
         rope.getDistance() == rope.getPairs();
}

static Chain findChain(Value value, int64_t headDim) {
  Chain chain{value, {}};
  while (worksOnHeads(chain.rows.getDefiningOp(), headDim) && chain.rows.hasOneUse()) {
    Operation *op = chain.rows.getDefiningOp();
    chain.hasNorm |= isa<HeadNormOp>(op);
    chain.ops.insert(chain.ops.begin(), op);
    chain.rows = op->getOperand(0);
  }
  return chain;
}

// What the chain makes of `rows`; its last op in type `element`, if there is one.
static Value clone(const Chain &chain, Value rows, Type element, OpBuilder &builder) {
  for (Operation *op : chain.ops) {
    IRMapping mapping;
    mapping.map(op->getOperand(0), rows);
    rows = builder.clone(*op, mapping)->getResult(0);
  }
  auto type = cast<RankedTensorType>(rows.getType()).clone(element);
  if (rows.getType() == type)
    return rows;
  if (chain.ops.empty())
    return builder.create<SliceOp>(rows.getLoc(), type, rows, /*offset=*/0);
  rows.setType(type);
  return rows;
}

static void fuse(AttendOp op) {
  auto append = op.getCache().getDefiningOp<KvAppendOp>();
  if (!append || !append->hasOneUse() || !op.getNewRows().empty())
    return;
  CacheType cache = op.getCache().getType();
  int64_t headDim = cache.getHeadDim();
  Chain query = findChain(op.getQuery(), headDim), keys = findChain(append.getKeys(), headDim);
  // A warp has a head, its lanes the columns of both halves.
  if (headDim % 64 || !(query.hasNorm || keys.hasNorm))
    return;
  OpBuilder builder(op);
  auto fused = cast<AttendOp>(builder.clone(*op));
  fused.getQueryMutable().assign(query.rows);
  fused.getCacheMutable().assign(append.getCache());
  fused.getNewRowsMutable().assign({keys.rows, append.getValues()});
  Block &prologue = fused.getPrologue().emplaceBlock();
  for (Value rows : std::initializer_list<Value>{query.rows, keys.rows, append.getValues()})
    prologue.addArgument(rows.getType(), rows.getLoc());
  builder.setInsertionPointToEnd(&prologue);
  Type element = cache.getElementType(), ofQuery = getElementTypeOrSelf(op.getQuery().getType());
  SmallVector<Value> made = {clone(query, prologue.getArgument(0), ofQuery, builder),
                             clone(keys, prologue.getArgument(1), element, builder),
                             clone({}, prologue.getArgument(2), element, builder)};
  builder.create<YieldOp>(op.getLoc(), made);
  op.replaceAllUsesWith(fused.getResult());
  op.erase();
  for (Operation *dead : llvm::reverse(query.ops))
    dead->erase();
  // Nobody waits for the store any more.
  Operation *last = fused;
  for (Operation *late : keys.ops) {
    late->moveAfter(last);
    last = late;
  }
  append->moveAfter(last);
}

namespace {
struct FuseAttend : impl::FuseAttendBase<FuseAttend> {
  void runOnOperation() override {
    // A store that nobody waits for would be under no condition, nor would what it stores.
    if (!getOperation().getFunctionBody().getOps<ChooseOp>().empty())
      return;
    SmallVector<AttendOp> ops(getOperation().getFunctionBody().getOps<AttendOp>());
    for (AttendOp op : ops)
      fuse(op);
  }
};
} // namespace
} // namespace mlir::mk
