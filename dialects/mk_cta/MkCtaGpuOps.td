// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a worker is made of on a GPU: a CTA whose loader warp streams weights into a ring of tiles in
// shared memory, while its consumer warps compute. Shuffles, votes and barriers are those of `nvvm`.
#ifndef MK_CTA_GPU_OPS_TD
#define MK_CTA_GPU_OPS_TD

def MkCta_Word : MemRefRankOf<[I32], [1]>;
def MkCta_Barriers : MemRefRankOf<[I64], [1]>;

include "dialects/mk_cta/MkCtaRingOps.td"

def MkCta_SharedOp : MkCta_Op<"shared", [Pure]> {
  let summary = "typed memory of the CTA";
  let description = [{
    The shared memory that begins `offset` bytes into what the kernel is launched with. The offsets are fixed
    when the kernel is built: the ring first, then its barriers, then the scratch of the kinds.

    ```mlir
    %ring = mk_cta.shared 0 : memref<12x4096xi32, 3>
    ```
  }];
  let arguments = (ins I64Attr:$offset);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def MkCta_ThreadOp : MkCta_Op<"thread", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the number of the thread in its CTA";
  let description = [{
    As `nvvm.read.ptx.sreg.tid.x`, but read anew. All kinds are part of one kernel: what they compute from a number
    that never changes would be computed once, in front of the loop over the table, and held in registers ever after.

    ```mlir
    %thread = mk_cta.thread
    ```
  }];
  let results = (outs Index:$result);
  let builders = [OpBuilder<(ins), [{ build($_builder, $_state, $_builder.getIndexType()); }]>];
  let assemblyFormat = "attr-dict";
}

def MkCta_PollOp : MkCta_Op<"poll", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait in one thread until a counter has arrived so far";
  let description = [{
    The thread's half of a wait on a GPU: it loads the counter of `event` (-1: that of the steps) with acquire
    order at the scope of the device until it is at least `target`, and gives true. A barrier of the CTA that
    follows orders what the other threads read behind the acquire, since causality order is transitive over
    barriers (PTX memory model, 8.9). If `hint` is true the loads are relaxed and order nothing. It gives false, and writes the worker's line of the stall block, when the
    wait has taken longer than the context's `stall_ns`; `number` is the instruction for that line.

    ```mlir
    %arrived = mk_cta.poll %context, %worker, %number, %event, %target, %hint
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$worker, Index:$number, Index:$event, Index:$target, I1:$hint);
  let results = (outs I1:$result);
  let assemblyFormat = "$context `,` $worker `,` $number `,` $event `,` $target `,` $hint attr-dict";
}

def MkCta_ArriveOp : MkCta_Op<"arrive", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "count one arrival of an event or hint";
  let description = [{
    `mk_cta.signal` for a GPU: one thread adds one, with release order at the scope of the device behind a barrier
    of the CTA, so that the writes of all its threads are visible to whoever waits; or, if `hint` is true, relaxed.

    ```mlir
    mk_cta.arrive %context, %event, %hint
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$event, I1:$hint);
  let assemblyFormat = "$context `,` $event `,` $hint attr-dict";
}

def MkCta_LoadFlaggedOp : MkCta_Op<"load_flagged", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "look at words of a flagged buffer";
  let description = [{
    One load of one, two or four words, relaxed at the scope of the device: each word is all ones, or what its one
    `store_flagged` of this step wrote. That much needs no other order. The value says that the store has come; a
    relaxed read takes part in the coherence order of its word; what a word was in earlier steps, and that it was
    cleared in the one before, happened before this step by the events between the steps. The words of a
    vector are read one by one, in any order (PTX memory model, 8.2.2).

    ```mlir
    %words = mk_cta.load_flagged %fours[%row, %place] : memref<?x16xvector<4xi32>, strided<[16, 1]>, 1> -> vector<4xi32>
    ```
  }];
  let arguments = (ins AnyMemRef:$memory, Variadic<Index>:$indices);
  let results = (outs AnyTypeOf<[I32, VectorOfLengthAndType<[2, 4], [I32]>]>:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$memory, "::mlir::ValueRange":$indices), [{
    build($_builder, $_state, ::llvm::cast<::mlir::MemRefType>(memory.getType()).getElementType(), memory, indices);
  }]>];
  let assemblyFormat = "$memory `[` $indices `]` attr-dict `:` type($memory) `->` type($result)";
  let hasVerifier = 1;
}

def MkCta_StoreFlaggedOp : MkCta_Op<"store_flagged", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "write a word of a flagged buffer";
  let description = [{
    One relaxed store at the scope of the device. A word of all ones, a NaN, becomes another NaN: all ones mean that
    nothing has been written.

    ```mlir
    mk_cta.store_flagged %word, %buffer[%row, %place] : memref<?x64xi32, strided<[64, 1]>, 1>
    ```
  }];
  let arguments = (ins I32:$word, MemRefRankOf<[I32], [2]>:$memory, Variadic<Index>:$indices);
  let assemblyFormat = "$word `,` $memory `[` $indices `]` attr-dict `:` type($memory)";
}

def MkCta_ClearFlaggedOp : MkCta_Op<"clear_flagged", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "take back what a word of a flagged buffer says";
  let description = [{
    Stores all ones, relaxed at the scope of the device, in the copy that the step does not use. Its readers were
    in the step before, its next writer and readers are in the next, and events lie between steps.

    ```mlir
    mk_cta.clear_flagged %buffer[%row, %place] : memref<?x64xi32, strided<[64, 1]>, 1>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I32], [2]>:$memory, Variadic<Index>:$indices);
  let assemblyFormat = "$memory `[` $indices `]` attr-dict `:` type($memory)";
}

def MkCta_LookAgainOp : MkCta_Op<"look_again", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "whether to go on looking at flagged words that are not there";
  let description = [{
    `begin` is 0 at the first call of a wait; `since` is its `begin` at the next. Gives false when the wait has taken
    longer than the context's `stall_ns`, after it has written the worker's line of the stall block (as
    `mk_cta.poll` does, with event -2) and set the CTA's word `overdue`; and whenever that is set. What the thread
    has read is then worth nothing, but the CTA goes on to the next poll, where it leaves. The loader is `patient`, as in
    its other waits: twice as long.

    ```mlir
    %since, %again = mk_cta.look_again %context, %worker, %number, %overdue, %begin : memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_Context:$arenas, Index:$worker, Index:$number, MkCta_Word:$overdue, I64:$begin,
                       UnitAttr:$patient);
  let results = (outs I64:$since, I1:$again);
  let assemblyFormat = [{
    $arenas `,` $worker `,` $number `,` $overdue `,` $begin (`patient` $patient^)? attr-dict `:` type($overdue)
  }];
}

def MkCta_AwaitPredicateOp : MkCta_Op<"await_predicate", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait in a warp for the number that a condition asks for";
  let description = [{
    Of the flagged word at `place`, in units of 64 bytes of the activations, in the copy of `step`: 1 if its number is not
    0, 0 if it is. All lanes look, as by `load_flagged`, until all have seen it written, and get the same answer; or -1 if that
    takes too long, see `look_again`. A word is written once in a step, so whoever asks gets the same side: the loader and
    the warps of the consumers agree about what they run without telling each other.

    **Requires** that nobody may clear the word before: a consumer's signal comes behind its answer, and behind the loader's.

    ```mlir
    %side = mk_cta.await_predicate %place of %step in %context, %worker, %number, %overdue : memref<1xi32, 3>
    ```
  }];
  let arguments = (ins Index:$place, Index:$step, MkCta_Context:$arenas, Index:$worker, Index:$number, MkCta_Word:$overdue,
                       UnitAttr:$patient);
  let results = (outs I32:$side);
  let assemblyFormat = [{
    $place `of` $step `in` $arenas `,` $worker `,` $number `,` $overdue (`patient` $patient^)? attr-dict `:` type($overdue)
  }];
}

def MkCta_StepOp : MkCta_Op<"step", [MemoryEffects<[MemRead]>]> {
  let summary = "the number of steps that have ended before this run";
  let description = [{
    Read once per launch, when no step is in flight.

    ```mlir
    %step = mk_cta.step %context
    ```
  }];
  let arguments = (ins MkCta_Context:$context);
  let results = (outs Index:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$context), [{
    build($_builder, $_state, $_builder.getIndexType(), context);
  }]>];
  let assemblyFormat = "$context attr-dict";
}

def MkCta_MmaOp : MkCta_Op<"mma", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "multiply fragments on the tensor cores of a warp";
  let description = [{
    `mma.m16n8k16`: 16 rows of `a` by 8 columns of `b`, 16 bfloat16 elements each, added to `acc` in float32, in
    the fragment order of the PTX manual. All threads of the warp take part.

    ```mlir
    %1 = mk_cta.mma %a, %b, %0 : vector<4xi32>, vector<2xi32>, vector<4xf32>
    ```
  }];
  let arguments = (ins VectorOfLengthAndType<[4], [I32]>:$a, VectorOfLengthAndType<[2], [I32]>:$b,
                       VectorOfLengthAndType<[4], [F32]>:$acc);
  let results = (outs VectorOfLengthAndType<[4], [F32]>:$result);
  let assemblyFormat = "$a `,` $b `,` $acc attr-dict `:` type($a) `,` type($b) `,` type($acc)";
}

#endif // MK_CTA_GPU_OPS_TD
