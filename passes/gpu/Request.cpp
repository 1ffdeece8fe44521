// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/Request.h"
#include "passes/gpu/SharedLayout.h"

using namespace mlir;
using namespace mlir::mk;

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
