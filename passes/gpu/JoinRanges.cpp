// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/gpu/GpuEmitter.h"

namespace mlir::mk {
#define GEN_PASS_DEF_JOINRANGES
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;
using namespace mlir::mk_task;

namespace {
/// A family of attention, and the one that joins its ranges and does nothing else.
struct Pair {
  FamilyOp attend, combine;
};

struct JoinRanges : mk::impl::JoinRangesBase<JoinRanges> {
  void runOnOperation() override {
    TargetAttr target = requireTarget(getOperation());
    if (!target)
      return signalPassFailure();
    OptionsAttr options = getOptions(getOperation());
    if (!target.isGpu() || !options || !hasKernelOfFew(options))
      return;
    for (auto program : getOperation().getOps<ProgramOp>())
      joinRanges(program);
  }

  static void joinRanges(ProgramOp program) {
    SymbolTable symbols(program);
    llvm::MapVector<Operation *, SmallVector<Pair>> pairs; // by kind of attention
    DenseMap<Operation *, int64_t> families;               // by kind
    for (auto family : program.getOps<FamilyOp>()) {
      auto kind = symbols.lookup<KindOp>(family.getKind());
      ++families[kind];
      if (isa<AttendOp>(kind.getAnchor()))
        pairs[kind].push_back({family, findCombine(program, symbols, family)});
    }
    for (auto &[op, of] : pairs) {
      auto kind = cast<KindOp>(op);
      FamilyOp first = of.front().combine;
      // All families of the two kinds in pairs, since families of a kind share its code.
      if (!first || families[symbols.lookup(first.getKind())] != int64_t(of.size()) ||
          !llvm::all_of(of,
                        [&](Pair pair) {
                          return pair.combine && pair.combine.getKind() == first.getKind();
                        }) ||
          !AttendItems::roomFor(cast<AttendOp>(kind.getAnchor())))
        continue;
      join(kind, symbols.lookup<KindOp>(first.getKind()), of);
    }
  }

  /// The only family that reads what this one writes, if it is one `mk.combine` of flagged rows.
  static FamilyOp findCombine(ProgramOp program, const SymbolTable &symbols, FamilyOp attend) {
    auto isFlagged = [&](Attribute name) {
      auto buffer = symbols.lookup<BufferOp>(cast<FlatSymbolRefAttr>(name).getValue());
      return buffer && buffer.getFlagged();
    };
    if (attend.getOutputs().size() != 1 || !isFlagged(attend.getOutputs()[0]) ||
        attend.getConditionsAttr())
      return {};
    FamilyOp found;
    for (auto family : program.getOps<FamilyOp>()) {
      if (!llvm::is_contained(family.getOperands(), attend.getOutputs()[0]))
        continue;
      auto kind = symbols.lookup<KindOp>(family.getKind());
      auto combine = dyn_cast<CombineOp>(kind.getAnchor());
      if (found || !combine || combine.getPartials() != kind.getBody().getArgument(0) ||
          !llvm::hasSingleElement(kind.getBody().front().without_terminator()) ||
          family.getOutputs().size() != 1 || !isFlagged(family.getOutputs()[0]) ||
          !kind.getSegments() || kind.getSegments()->size() != 1 || family.getConditionsAttr())
        return {};
      found = family;
    }
    return found;
  }

  /// The combine of each pair in the attention's body too; its other operands become arguments.
  static void join(KindOp attend, KindOp combine, ArrayRef<Pair> pairs) {
    auto op = cast<CombineOp>(combine.getAnchor());
    Block &body = attend.getBody().front();
    IRMapping map;
    map.map(op.getPartials(), cast<AttendOp>(attend.getAnchor()).getResult());
    for (BlockArgument argument : combine.getBody().getArguments().drop_front()) {
      unsigned number = argument.getArgNumber();
      auto isHere = [&](unsigned i) {
        return llvm::all_of(pairs, [&](Pair pair) {
          return pair.attend.getOperands()[i] == pair.combine.getOperands()[number];
        });
      };
      auto all = llvm::seq<unsigned>(0, body.getNumArguments());
      auto found = llvm::find_if(all, isHere);
      if (found != all.end()) {
        map.map(argument, body.getArgument(*found));
        continue;
      }
      map.map(argument, body.addArgument(argument.getType(), argument.getLoc()));
      for (Pair pair : pairs)
        append(pair.attend, pair.attend.getOperandsAttrName(), pair.combine.getOperands()[number]);
    }
    OpBuilder builder(body.getTerminator());
    Operation *joined = builder.clone(*op, map);
    body.getTerminator()->insertOperands(1, joined->getResult(0));
    for (Pair pair : pairs)
      append(pair.attend, pair.attend.getOutputsAttrName(), pair.combine.getOutputs()[0]);
  }

  static void append(FamilyOp family, StringAttr list, Attribute name) {
    SmallVector<Attribute> names(family->getAttrOfType<ArrayAttr>(list).getValue());
    names.push_back(name);
    family->setAttr(list, ArrayAttr::get(family.getContext(), names));
  }
};
} // namespace
