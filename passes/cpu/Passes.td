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

    ```mlir
    mk_task.kind @double class(columns) domain(tokens) units(2)
      segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>] {
    ^bb0(%x: tensor<?x64xf32>):
      %y = mk.add %x, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    mk_task.family @twice kind(@double) [@x] -> [@u]
    // is followed by, beside the program and after canonicalization
    func.func private @double(%context: !mk_cta.context, %i: !mk_cta.instruction, %worker: index) {
      %place = mk_cta.field %i, "operand"[0]
      %byte = arith.muli %place, ... : index
      %x = mk_cta.view %context, "activations", %byte : memref<?x64xf32, strided<[64, 1]>>
      ...
      %y = mk_cta.view %context, "activations", ... : memref<?x64xf32, strided<[64, 1]>>
      %begin = mk_cta.field %i, "begin"[0]
      %end = mk_cta.field %i, "end"[0]
      ...
      scf.for %row = ... {
        scf.for %unit = ... {
          %column = arith.muli %unit, ... : index
          %a = vector.load %x[%row, %column] : memref<?x64xf32, strided<[64, 1]>>, vector<16xf32>
          %b = arith.addf %a, %a : vector<16xf32>
          vector.store %b, %y[%row, %column] : memref<?x64xf32, strided<[64, 1]>>, vector<16xf32>
    ```
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

    ```mlir
    func.func private @first(!mk_cta.context, !mk_cta.instruction, index)
    mk_task.program @step {
      mk_task.table counts [0] kinds [@first] families [] events [] words dense<-1> : tensor<1x1x32xi32>
    }
    // becomes, after canonicalization
    func.func @mk_main(%context: !mk_cta.context, %number: i32) {
      %worker = arith.index_cast %number : i32 to index
      %running = mk_cta.view %context, "request", ... : memref<1xi32, strided<[1]>>
      %step = mk_cta.context_word %context, "step"
      ...
      scf.while ... {
        %next = arith.addi ...
        scf.while ... {
          %i = mk_cta.instruction %context, %worker, ...
          ...
          mk_cta.wait %context, %worker, ...
          ...
          scf.index_switch ...
          case 0 {
            func.call @first(%context, ..., %worker) : (!mk_cta.context, !mk_cta.instruction, index) -> ()
          ...
          %event = mk_cta.field ..., "signal"[0]
          ...
          mk_cta.signal %context, %event
          ...
        mk_cta.await_step %context, %worker, %next
        %flag = memref.load %running[...] : memref<1xi32, strided<[1]>>
    ```
  }];
  let options = [Option<"trace", "trace", "bool", "false", "note the times of every instruction">];
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

    ```mlir
    mk_cta.matmul %tile, %rows[%n], %acc {count = 1 : i64} : memref<7x1x16xf32>, memref<?x7xf32>, memref<1x1x16xf32>
    // becomes, after canonicalization
    %zero = arith.constant dense<0.000000e+00> : vector<16xf32>
    ...
    %sum = scf.for %k = %c0 to %c7 step %c1 iter_args(%s = %zero) -> (vector<16xf32>) {
      %w = vector.load %tile[%k, %c0, %c0] : memref<7x1x16xf32>, vector<16xf32>
      %x = vector.load %rows[%n, %k] : memref<?x7xf32>, vector<1xf32>
      %d = mk_cta.dot %s, %w, %x : vector<16xf32>, vector<16xf32>, vector<1xf32>
      scf.yield %d : vector<16xf32>
    }
    vector.store %sum, %acc[%c0, %c0, %c0] : memref<1x1x16xf32>, vector<16xf32>
    ```
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

    ```mlir
    mk_cta.signal %context, %event
    // becomes, after canonicalization
    %one = arith.constant 1 : i64
    %line = arith.constant 64 : index
    %field = llvm.getelementptr %context[16] : (!llvm.ptr) -> !llvm.ptr, i8
    %events = llvm.load %field : !llvm.ptr -> !llvm.ptr
    %offset = arith.muli %event, %line : index
    %byte = arith.index_cast %offset : index to i64
    %counter = llvm.getelementptr %events[%byte] : (!llvm.ptr, i64) -> !llvm.ptr, i8
    %before = llvm.atomicrmw add %counter, %one release : !llvm.ptr, i64
    ```
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
