// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/TableWalk.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

SmallVector<mk_task::KindOp> mk::kindsOf(mk_task::ProgramOp program, mk_task::TableOp table) {
  return llvm::map_to_vector(
      table.getKinds().getAsRange<FlatSymbolRefAttr>(), [&](FlatSymbolRefAttr symbol) {
        return cast<mk_task::KindOp>(SymbolTable::lookupSymbolIn(program, symbol));
      });
}

Value mk::isOneOf(GpuBuilder &b, Value kind, ArrayRef<mk_task::KindOp> kinds,
                  function_ref<bool(mk_task::KindOp)> which) {
  Value result = b.integer(0, 1);
  for (auto [i, op] : llvm::enumerate(kinds))
    if (which(op))
      result = b.createOrFold<arith::OrIOp>(result, b.equal(kind, b.index(i)));
  return result;
}

Value TableWalk::instructionAt(Value number) {
  return b.create<mk_cta::InstructionOp>(context, worker, number);
}

Value TableWalk::field(Value instruction, StringRef name, int64_t i) {
  return b.create<mk_cta::FieldOp>(instruction, name, i);
}

SmallVector<Value> TableWalk::walk(ValueRange carried, Body body) {
  SmallVector<Value> init = {b.index(0), instructionAt(b.index(0))};
  init.append(carried.begin(), carried.end());
  SmallVector<Value> result = b.loopWhile(
      init,
      [&](ValueRange at) -> Value {
        Value more =
            b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, field(at[1], "kind"), b.index(-1));
        return b.both(more, at[2]);
      },
      [&](ValueRange at) {
        // The next instruction is on its way while this one runs.
        Value following = instructionAt(b.add(at[0], 1));
        SmallVector<Value> next = {b.add(at[0], 1), following};
        next.append(body(at[1], at[0], at.drop_front(2)));
        return next;
      });
  result.erase(result.begin() + 1);
  return result;
}
