// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_CTA_OPS_TD
#define MK_CTA_OPS_TD

include "MkCtaDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class MkCta_Type<string cppName, string asm> : TypeDef<MkCta_Dialect, cppName> { let mnemonic = asm; }
def MkCta_Context : MkCta_Type<"Context", "context"> { let summary = "the arenas of a run"; }
def MkCta_Instruction : MkCta_Type<"Instruction", "instruction"> { let summary = "one entry of the table"; }

class MkCta_Op<string mnemonic, list<Trait> traits = []> : Op<MkCta_Dialect, mnemonic, traits>;

def MkCta_ContextWordOp : MkCta_Op<"context_word", [MemoryEffects<[MemRead]>]> {
  let summary = "read a number of the context";
  let description = [{
    `name` is a field of `Abi.def`'s context. Lowers to a 64-bit load.

    ```mlir
    %pages = mk_cta.context_word %context, "pool_pages"
    ```
  }];
  let arguments = (ins MkCta_Context:$context, StrAttr:$name);
  let results = (outs Index:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$context, "::llvm::StringRef":$name), [{
    build($_builder, $_state, $_builder.getIndexType(), context, name);
  }]>];
  let assemblyFormat = "$context `,` $name attr-dict";
  let hasVerifier = 1;
}

def MkCta_InstructionOp : MkCta_Op<"instruction", [MemoryEffects<[MemRead]>]> {
  let summary = "one instruction of a worker";
  let description = [{
    ```mlir
    %i = mk_cta.instruction %context, %worker, %number
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$worker, Index:$number);
  let results = (outs MkCta_Instruction:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$context, "::mlir::Value":$worker, "::mlir::Value":$number), [{
    build($_builder, $_state, $_builder.getType<InstructionType>(), context, worker, number);
  }]>];
  let assemblyFormat = "$context `,` $worker `,` $number attr-dict";
}

def MkCta_FieldOp : MkCta_Op<"field", [Pure]> {
  let summary = "read a word of an instruction";
  let description = [{
    Word `index` of the field `name` of `Abi.def`'s instruction, sign-extended. Tables never change while a
    program runs, so the op is pure. Lowers to a 32-bit load.

    ```mlir
    %begin = mk_cta.field %i, "begin" [0]
    %x = mk_cta.field %i, "operand" [2]
    ```
  }];
  let arguments = (ins MkCta_Instruction:$instruction, StrAttr:$name, I64Attr:$index);
  let results = (outs Index:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$instruction, "::llvm::StringRef":$name, "int64_t":$index), [{
    build($_builder, $_state, $_builder.getIndexType(), instruction, name, index);
  }]>];
  let assemblyFormat = "$instruction `,` $name `[` $index `]` attr-dict";
  let hasVerifier = 1;
}

def MkCta_ViewOp : MkCta_Op<"view", [Pure]> {
  let summary = "typed memory of an arena";
  let description = [{
    The memory that begins `offset` bytes into the arena (a context field), seen as a memref with static
    strides. Nothing checks bounds at run time: `mk-verify-schedule` proves that every buffer lies in its
    arena.

    ```mlir
    %x = mk_cta.view %context, "activations", %offset : memref<?x576xf32, strided<[576, 1]>>
    ```
  }];
  let arguments = (ins MkCta_Context:$context, StrAttr:$arena, Index:$offset);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$context `,` $arena `,` $offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def MkCta_DotOp : MkCta_Op<"dot", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "accumulate products of neighbouring elements, lane by lane";
  let description = [{
    `acc[i] + sum_j w[i * p + j] * x[j]` for the p elements that one 32-bit word holds: one product for
    float32, two for bfloat16. One hardware instruction where there is one (`vdpbf16ps`), else one fused
    multiply-add for each j, ascending.

    ```mlir
    %1 = mk_cta.dot %0, %w, %x : vector<16xf32>, vector<32xbf16>, vector<2xbf16>
    ```
  }];
  let arguments = (ins VectorOfRankAndType<[1], [F32]>:$acc, VectorOfRankAndType<[1], [F32, BF16]>:$weights,
                       VectorOfRankAndType<[1], [F32, BF16]>:$row);
  let results = (outs VectorOfRankAndType<[1], [F32]>:$result);
  let assemblyFormat = "$acc `,` $weights `,` $row attr-dict `:` type($acc) `,` type($weights) `,` type($row)";
  let hasVerifier = 1;
}

def MkCta_MatmulOp : MkCta_Op<"matmul", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "multiply a packed tile by some rows";
  let description = [{
    `acc[i, g, l] = sum_k tile[k, g, l] * rows[first + i, k]` for `count` rows i, every group g and lane l:
    the tile is a memref [K][groups][lanes * p], K in words of p elements; a row holds K * p elements.
    Every sum runs over k in ascending order from zero, so a row's result does not depend on `count`.
    Lowers to one loop over k with `count * groups` vector accumulators.

    ```mlir
    mk_cta.matmul %tile, %rows[%first], %acc {count = 4 : i64}
      : memref<288x2x32xbf16>, memref<?x576xbf16, strided<[576, 1]>>, memref<12x2x16xf32>
    ```
  }];
  let arguments = (ins MemRefRankOf<[F32, BF16], [3]>:$tile, MemRefRankOf<[F32, BF16], [2]>:$rows, Index:$first,
                       MemRefRankOf<[F32], [3]>:$acc, I64Attr:$count);
  let assemblyFormat = [{
    $tile `,` $rows `[` $first `]` `,` $acc attr-dict `:` type($tile) `,` type($rows) `,` type($acc)
  }];
  let hasVerifier = 1;
}

def MkCta_WaitOp : MkCta_Op<"wait", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait until an event has arrived so often";
  let description = [{
    Spins until the counter is at least `target`. The load is an acquire: it pairs with the release of every
    `signal` it counted (each is a read-modify-write, so all of them lie in the release sequence that the
    load reads from), hence everything before those signals is visible after the wait. An overdue wait calls
    the context's `yield` from time to time, so that workers that share a core make progress and a watchdog
    can look.

    ```mlir
    mk_cta.wait %context, %worker, %event, %target
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$worker, Index:$event, Index:$target);
  let assemblyFormat = "$context `,` $worker `,` $event `,` $target attr-dict";
}

def MkCta_SignalOp : MkCta_Op<"signal", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "count one arrival of an event";
  let description = [{
    Adds one with release order: the task's writes become visible to whoever waits for this arrival.

    ```mlir
    mk_cta.signal %context, %event
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$event);
  let assemblyFormat = "$context `,` $event attr-dict";
}

def MkCta_PublishStepOp : MkCta_Op<"publish_step", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "end the step";
  let description = [{
    Adds one to the context's step with release order. Only `mk.advance` and `mk.finish` do, after every other task of the
    step, so it publishes the next request and, by the schedule, all that the step wrote.

    ```mlir
    mk_cta.publish_step %context
    ```
  }];
  let arguments = (ins MkCta_Context:$context);
  let assemblyFormat = "$context attr-dict";
}

def MkCta_AwaitStepOp : MkCta_Op<"await_step", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait until so many steps have ended";
  let description = [{
    The acquire side of `publish_step`, once per worker and step: after it the worker may read `running`.

    ```mlir
    mk_cta.await_step %context, %worker, %steps
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$worker, Index:$steps);
  let assemblyFormat = "$context `,` $worker `,` $steps attr-dict";
}

def MkCta_PostOp : MkCta_Op<"post", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "publish the count of a mailbox";
  let description = [{
    Stores `value` with release order, for a host that reads the mailbox while the program runs.

    ```mlir
    mk_cta.post %count[%zero], %n : memref<1xi64>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I64], [1]>:$memory, Index:$position, I64:$value);
  let assemblyFormat = "$memory `[` $position `]` `,` $value attr-dict `:` type($memory)";
}

def MkCta_TraceLineOp : MkCta_Op<"trace_line", [Pure]> {
  let summary = "where the times of an instruction lie";
  let description = [{
    The address of the eight 64-bit words that an instruction has for a step in the context's `trace`. A step takes
    the words of the oldest step that is kept.

    ```mlir
    %line = mk_cta.trace_line %context, %worker, %step, %number
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$worker, Index:$step, Index:$number);
  let results = (outs Index:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$context, "::mlir::Value":$worker, "::mlir::Value":$step,
                                 "::mlir::Value":$number), [{
    build($_builder, $_state, $_builder.getIndexType(), context, worker, step, number);
  }]>];
  let assemblyFormat = "$context `,` $worker `,` $step `,` $number attr-dict";
}

def MkCta_StampOp : MkCta_Op<"stamp", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "note the time";
  let description = [{
    One thread stores the time as word `which` of a line: 0 at the begin of the instruction's wait, 1 of its body,
    2 at the end of its body, 3 after its signal. On a GPU the nanoseconds of the device's clock, on a CPU the ticks of
    its counter. With `value` it stores that number: 4 is what the body waited for the ring.

    ```mlir
    mk_cta.stamp %line {which = 0 : i64}
    mk_cta.stamp %line value %waited {which = 4 : i64}
    ```
  }];
  let arguments = (ins Index:$line, I64Attr:$which, Optional<I64>:$value);
  let assemblyFormat = "$line (`value` $value^)? attr-dict";
}

include "MkCtaGpuOps.td"

#endif // MK_CTA_OPS_TD
