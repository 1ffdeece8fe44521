// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace mlir::mk {
#define GEN_PASS_DEF_MARKKERNELS
#include "passes/Passes.h.inc"

namespace {
struct MarkKernels : impl::MarkKernelsBase<MarkKernels> {
  void runOnOperation() override {
    Builder b(&getContext());
    for (auto function : getOperation().getOps<LLVM::LLVMFuncOp>()) {
      auto threads = dyn_cast_or_null<IntegerAttr>(function->removeAttr("mk.kernel"));
      if (!threads)
        continue;
      function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
      function->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(),
                        b.getDenseI32ArrayAttr({int32_t(threads.getInt())}));
      function->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(1));
    }
  }
};
} // namespace
} // namespace mlir::mk
