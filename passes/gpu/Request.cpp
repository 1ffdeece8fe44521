// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/Request.h"
#include "passes/gpu/SharedLayout.h"

using namespace mlir;
using namespace mlir::mk;

mk_task::BufferOp mk::findSeen(mk_task::ProgramOp program, mk_task::KindOp attends) {
  auto positions = dyn_cast<BlockArgument>(cast<AttendOp>(attends.getAnchor()).getPositions());
  for (auto family : program.getOps<mk_task::FamilyOp>())
    if (family.getKind() == attends.getSymName() && positions) {
      auto name = cast<FlatSymbolRefAttr>(family.getOperands()[positions.getArgNumber()]);
      auto buffer = dyn_cast_or_null<mk_task::BufferOp>(SymbolTable::lookupSymbolIn(program, name));
      return buffer && buffer.getInput() ? buffer : mk_task::BufferOp();
    }
  return {};
}

mk_task::BufferOp mk::findSeen(mk_task::ProgramOp program) {
  for (auto kind : program.getOps<mk_task::KindOp>())
    if (isa<AttendOp>(kind.getAnchor()))
      if (mk_task::BufferOp seen = findSeen(program, kind))
        return seen;
  return {};
}

int64_t mk::headerOf(mk_task::ProgramOp program, mk_task::BufferOp buffer) {
  if (buffer.getRequest())
    return SharedLayout::headerOf(buffer.getSymName());
  return buffer.getInput() && buffer == findSeen(program) ? SharedLayout::kSeen : -1;
}

Value mk::requestArray(GpuBuilder &b, Value context, OptionsAttr options, StringRef name) {
  mk_task::RequestArray array = mk_task::findRequestArray(options, name);
  return b.view(context, "request", b.index(array.offset), {array.count}, {1},
                array.getElementType(b.getContext()));
}

Value mk::pageAt(GpuBuilder &b, Value context, OptionsAttr options, Value token, Value slot,
                 Value number) {
  auto here = [&] { return b.read(SharedLayout::pageRows(b), {token, number}); };
  if (options.getPagesPerSlot() <= SharedLayout::kPages)
    return here();
  return b.choose(b.getI32Type(), b.less(number, b.index(SharedLayout::kPages)), here, [&] {
    return b.read(requestArray(b, context, options, "page_table"),
                  b.add(b.mul(slot, options.getPagesPerSlot()), number));
  });
}
