// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One column of a mk.generic, by one thread: the loops over the reductions are its own, and each
// word that it reads is waited for by itself. The arithmetic is that of the CPU, without the
// approximations of the special function unit.
#include "passes/cpu/GenericRegion.h"
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

Value GpuEmitter::pullGeneric(GenericOp op, Value row, Column column) {
  assert(!loads && "loads in a loop are its own");
  SmallVector<Value> dims = splitColumn(b, op, at(column)), counters;
  auto all = [&] {
    SmallVector<Value> result(dims);
    result.append(counters);
    return result;
  };
  RegionPoint point;
  point.type = f32();
  point.input = [&](unsigned number) -> Value {
    const Memory &memory = memoryOf(op.getInputs()[number]);
    if (memory.type.getElementType().isInteger(32))
      return load(memory, row, row);
    return load(memory, row, makeAffine(b, op.getMap(number).getResult(0), all()));
  };
  point.element = [&](unsigned number, Value index) {
    const Memory &memory = memoryOf(op.getTables()[number]);
    Value last = b.integer(memory.columns() - 1);
    index = b.create<arith::MaxSIOp>(index, b.integer(0));
    return load(memory, row, b.toIndex(b.create<arith::MinSIOp>(index, last)));
  };
  point.iteration = [&](int64_t dim) { return b.toI32(all()[dim]); };
  return makeReductions(b, op, point, counters);
}
