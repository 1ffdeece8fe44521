// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_ORDERCOLUMNS
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;
using namespace mlir::mk_task;

namespace {
/// How a kind reads one of its arguments.
enum class Use { no, columns, fragments };

/// Inside a prologue a thread reads the columns that it multiplies; elsewhere single columns.
Use useOf(BlockArgument argument) {
  Use result = Use::no;
  for (OpOperand &use : argument.getUses()) {
    Operation *user = use.getOwner();
    auto linear = dyn_cast<LinearOp>(user);
    auto combine = dyn_cast<CombineOp>(user); // of a head it reads one sink
    bool before =
        combine && use.get() == combine.getSinks() ? false
        : linear                                   ? linear.getInput() == argument
        : isa<MoeLinearOp, MoeCombineOp>(user)
            ? use.getOperandNumber() == 0
            : isa<LinearOp>(user->getParentOp()) &&
                  user->getParentRegion() == &cast<LinearOp>(user->getParentOp()).getPrologue();
    result = std::max(result, before ? Use::fragments : Use::columns);
  }
  return result;
}

struct OrderColumns : mk::impl::OrderColumnsBase<OrderColumns> {
  void runOnOperation() override {
    TargetAttr target = getTarget(getOperation());
    if (!target || !target.isGpu())
      return;
    for (auto program : getOperation().getOps<ProgramOp>())
      if (failed(order(program)))
        return signalPassFailure();
  }

  /// A gain scales the columns of the weights as well as it does the row, and costs nothing there:
  /// weights that only one product reads take it in. Families of a kind share its code, so they do
  /// so together.
  static void foldGains(ProgramOp program, const llvm::StringMap<KindOp> &kinds,
                        const SymbolTable &symbols) {
    llvm::MapVector<Operation *, SmallVector<std::pair<mk_task::WeightOp, FlatSymbolRefAttr>>>
        found;
    DenseSet<Operation *> kept;
    for (auto family : program.getOps<FamilyOp>()) {
      KindOp kind = kinds.lookup(family.getKind());
      auto linear = dyn_cast<LinearOp>(kind.getAnchor());
      if (!linear || linear.getPrologue().empty())
        continue;
      auto norm =
          linear.getPrologue().front().getTerminator()->getOperand(0).getDefiningOp<RmsNormOp>();
      auto gain = norm ? dyn_cast_if_present<BlockArgument>(norm.getGain()) : BlockArgument();
      if (!gain || gain.getOwner() != &kind.getBody().front())
        continue;
      auto operand = [&](Value value) {
        return cast<FlatSymbolRefAttr>(
            family.getOperands()[cast<BlockArgument>(value).getArgNumber()]);
      };
      auto weight =
          cast<mk_task::WeightOp>(symbols.lookup(operand(linear.getWeights().front()).getValue()));
      found[kind].push_back({weight, operand(gain)});
      if (weight.getGathered()) // its rows are looked up as they are
        kept.insert(kind);
    }
    for (auto &[kind, weights] : found)
      if (!kept.contains(kind))
        for (auto [weight, gain] : weights)
          weight.setScaleAttr(gain);
  }

  LogicalResult order(ProgramOp program) {
    llvm::StringMap<KindOp> kinds;
    for (auto kind : program.getOps<KindOp>())
      kinds[kind.getSymName()] = kind;
    SymbolTable symbols(program);
    for (auto family : program.getOps<FamilyOp>()) {
      KindOp kind = kinds.lookup(family.getKind());
      for (auto [argument, name] :
           llvm::zip_equal(kind.getBody().getArguments(), family.getOperands())) {
        Operation *op = symbols.lookup(cast<FlatSymbolRefAttr>(name).getValue());
        if (useOf(argument) != Use::fragments)
          continue;
        if (auto buffer = dyn_cast<BufferOp>(op); buffer && !buffer.getRequest()) {
          // What the host writes or reads is in the host's order.
          if (buffer.getOrder() != Order::ranges && !buffer.getRecord())
            buffer.setOrder(Order::fragments);
        } else if (auto weight = dyn_cast<mk_task::WeightOp>(op);
                   weight && weight.getLayout() == Layout::rows) {
          if (cast<RankedTensorType>(weight.getType()).getRank() == 1)
            weight.setLayout(Layout::fragments);
        }
      }
      if (isa<AttendOp>(kind.getAnchor()))
        for (Attribute name : family.getOutputs())
          cast<BufferOp>(symbols.lookup(cast<FlatSymbolRefAttr>(name).getValue()))
              .setOrder(Order::ranges);
    }
    foldGains(program, kinds, symbols);
    for (auto buffer : program.getOps<BufferOp>())
      if (auto type = cast<RankedTensorType>(buffer.getType());
          buffer.getOrder() == Order::fragments && type.getDimSize(1) % 32)
        return buffer.emitOpError()
               << buffer.getSymNameAttr()
               << " is multiplied on a gpu: expected a multiple of 32 columns, found "
               << type.getDimSize(1);
    for (auto weight : program.getOps<mk_task::WeightOp>())
      if (auto type = cast<RankedTensorType>(weight.getType());
          weight.getLayout() == Layout::fragments && type.getDimSize(0) % 32)
        return weight.emitOpError()
               << weight.getSymNameAttr()
               << " scales rows on a gpu: expected a multiple of 32 columns, found "
               << type.getDimSize(0);
    return success();
  }
};
} // namespace
