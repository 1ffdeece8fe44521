// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_CPU_TD
#define MK_PASSES_CPU_TD

include "mlir/Pass/PassBase.td"

def LowerKinds : Pass<"mk-lower-kinds", "ModuleOp"> {
  let summary = "turn each kind into a function that runs a task";
  let description = [{
    Writes one `func.func @<kind>(context, instruction, worker)` per `mk_task.kind`, beside the
    program. A `tiles` kind becomes: prologue rows staged once into the worker's scratch, then a loop over
    the task's tiles with a `mk_cta.matmul` for each block of rows and the epilogue on its accumulators.
    Row-wise ops are evaluated by demand, a register of columns at a time, so any chain of them costs one
    pass over memory. Also sets the program's `scratch`.

    **Requires** `mk-tile` and `mk.target`, `mk.options` on the module. **Ensures** a function for every kind
    in arith, math, scf, vector, memref and mk_cta.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::func::FuncDialect", "::mlir::mk_cta::MkCtaDialect"];
}

def BuildMain : Pass<"mk-build-main", "ModuleOp"> {
  let summary = "write the loop that walks a worker's table";
  let description = [{
    Adds `func.func @mk_main(!mk_cta.context, i32 worker)`: for every step, for every instruction of the
    worker, its waits, the function of its kind, its signal; then `await_step`, and out when the request is
    no longer `running`. The numbers of the kinds come from `mk_task.table`. One call is one generation.

    **Requires** `mk-build-table` and `mk-lower-kinds`. **Ensures** that the program is code: the
    `mk_task.program` is erased, what the package needs of it has been read before.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::func::FuncDialect", "::mlir::mk_cta::MkCtaDialect"];
}

def LowerMatmul : Pass<"mk-lower-matmul", "ModuleOp"> {
  let summary = "write a tile product as one loop of register accumulators";
  let description = [{
    `mk_cta.matmul` becomes one `scf.for` over the words of the tile that carries `count * groups` vector
    accumulators: per word it loads each group once, and broadcasts one word of each row. With few rows the
    loop is unrolled, so that loads of the one linear weight stream run ahead of the dependent products.
    Per word of weights that is one load and `count` products: decode is bound by memory, prefill by
    arithmetic.

    **Ensures** no `mk_cta.matmul` is left.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def LowerCtaToLLVM : Pass<"mk-lower-cta-to-llvm", "ModuleOp"> {
  let summary = "lower mk_cta and everything around it to the llvm dialect";
  let description = [{
    Contexts and instructions become pointers, views memref descriptors over them, waits and signals atomic
    accesses, `dot` the hardware's instruction where the target has it. The upstream conversions of vector, scf,
    memref, math, arith and func follow it in the pipeline.

    **Requires** `mk-lower-matmul`. **Ensures** no `mk_cta` op or type is left.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def LegalizeBf16 : Pass<"mk-legalize-bf16", "ModuleOp"> {
  let summary = "load and store bfloat16 as the integers that it is in memory";
  let description = [{
    LLVM moves bfloat16 through float32 on processors without bfloat16 instructions, and calls a library to
    round it back. As 16-bit integers the same bits go to and from memory as they are; arithmetic has been
    written on float32 or integers before.

    **Ensures** no `llvm` load or store of bfloat16 is left.

    ```mlir
    llvm.store %x, %p : vector<8xbf16>, !llvm.ptr
    // becomes
    %0 = llvm.bitcast %x : vector<8xbf16> to vector<8xi16>
    llvm.store %0, %p : vector<8xi16>, !llvm.ptr
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // MK_PASSES_CPU_TD
