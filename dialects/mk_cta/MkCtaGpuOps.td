// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a worker is made of on a GPU: a CTA whose loader warp streams weights into a ring of tiles in
// shared memory, while its consumer warps compute. Shuffles, votes and barriers are those of `nvvm`.
#ifndef MK_CTA_GPU_OPS_TD
#define MK_CTA_GPU_OPS_TD

def MkCta_Word : MemRefRankOf<[I32], [1]>;
def MkCta_Barriers : MemRefRankOf<[I64], [1]>;

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

def MkCta_RingInitOp : MkCta_Op<"ring_init", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "set up the barriers of the ring";
  let description = [{
    One thread does, once per launch. A `full` barrier has one arrival, the loader's announcement, and completes
    when the announced bytes have landed; an `empty` barrier has `consumers` arrivals, one for each consumer
    warp. The fence makes them visible to the copy engine; a barrier of the CTA must follow.

    ```mlir
    mk_cta.ring_init %full, %empty {consumers = 8 : i64} : memref<12xi64, 3>, memref<12xi64, 3>
    ```
  }];
  let arguments = (ins MkCta_Barriers:$full, MkCta_Barriers:$empty, I64Attr:$consumers);
  let assemblyFormat = "$full `,` $empty attr-dict `:` type($full) `,` type($empty)";
}

def MkCta_RingAwaitOp : MkCta_Op<"ring_await", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait for a phase of a barrier of the ring";
  let description = [{
    Spins until the phase of parity `parity` has completed, and gives true; or until the word `quit` is not
    zero, and gives false. Without `quit` it always gives true: a copy that was issued always lands.
    Completion of a phase has acquire semantics at the scope of the CTA: the consumers see the bytes that the
    copy engine wrote, and the loader may overwrite what the consumers have read.

    ```mlir
    %landed = mk_cta.ring_await %full[%slot], %parity : memref<12xi64, 3>
    %free = mk_cta.ring_await %empty[%slot], %parity quit %quit : memref<12xi64, 3>, memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_Barriers:$barriers, Index:$slot, I32:$parity, Optional<MkCta_Word>:$quit);
  let results = (outs I1:$result);
  let assemblyFormat = [{
    $barriers `[` $slot `]` `,` $parity (`quit` $quit^)? attr-dict `:` type($barriers) (`,` type($quit)^)?
  }];
}

def MkCta_RingAwaitTimedOp : MkCta_Op<"ring_await_timed", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait for a phase of a barrier of the ring, and note how long";
  let description = [{
    `ring_await` without `quit`. If the phase has not completed at the first look, thread 0 of the CTA adds the
    nanoseconds until it has to its word `sum`; else nothing looks at a clock.

    ```mlir
    mk_cta.ring_await_timed %full[%slot], %parity, %sum : memref<12xi64, 3>, memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_Barriers:$barriers, Index:$slot, I32:$parity, MkCta_Word:$sum);
  let assemblyFormat = "$barriers `[` $slot `]` `,` $parity `,` $sum attr-dict `:` type($barriers) `,` type($sum)";
}

def MkCta_RingFillOp : MkCta_Op<"ring_fill", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "let the copy engine fill a slot";
  let description = [{
    One thread announces `bytes` to the slot's `full` barrier and issues one bulk copy from `offset` bytes into
    the arena to the slot. The bytes are read once a step: the copy asks the L2 cache to evict them first. What
    the copy reads was written before the launch, so it needs no fence of the proxies.

    ```mlir
    mk_cta.ring_fill %ring[%slot], %full, %context, "stream", %offset, %bytes
      : memref<12x4096xi32, 3>, memref<12xi64, 3>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I32], [2]>:$ring, Index:$slot, MkCta_Barriers:$full, MkCta_Context:$context,
                       StrAttr:$arena, Index:$offset, I32:$bytes);
  let assemblyFormat = [{
    $ring `[` $slot `]` `,` $full `,` $context `,` $arena `,` $offset `,` $bytes attr-dict
    `:` type($ring) `,` type($full)
  }];
  let hasVerifier = 1;
}

def MkCta_RingAnnounceOp : MkCta_Op<"ring_announce", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "say how many bytes will fill a slot";
  let description = [{
    For a slot that several copies fill: one thread is the arrival of the slot's `full` barrier and announces the
    bytes of all of them. Its order among the copies is of no matter: the phase has this one arrival pending.

    ```mlir
    mk_cta.ring_announce %full[%slot], %bytes : memref<12xi64, 3>
    ```
  }];
  let arguments = (ins MkCta_Barriers:$full, Index:$slot, I32:$bytes);
  let assemblyFormat = "$full `[` $slot `]` `,` $bytes attr-dict `:` type($full)";
}

def MkCta_RingCopyOp : MkCta_Op<"ring_copy", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "let the copy engine fill a part of a slot";
  let description = [{
    One bulk copy of `bytes` bytes, from `offset` bytes into the arena to `place` times 16 bytes in the slot. What it
    reads may have been written in an earlier step: an acquire and `mk_cta.proxy_fence global` must come first.

    ```mlir
    mk_cta.ring_copy %ring[%slot], %place, %full, %context, "kv", %offset, %bytes
      : memref<12x4096xi32, 3>, memref<12xi64, 3>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I32], [2]>:$ring, Index:$slot, Index:$place, MkCta_Barriers:$full,
                       MkCta_Context:$context, StrAttr:$arena, Index:$offset, I32:$bytes);
  let assemblyFormat = [{
    $ring `[` $slot `]` `,` $place `,` $full `,` $context `,` $arena `,` $offset `,` $bytes attr-dict
    `:` type($ring) `,` type($full)
  }];
  let hasVerifier = 1;
}

def MkCta_TellOp : MkCta_Op<"tell", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "say to other warps of the CTA how far this one is";
  let description = [{
    One thread stores, with release order at the scope of the CTA, that number `number` is done: of steps the consumers
    tell that what it is asked to do is on the chip, and the loader, that it looks at that no more.

    ```mlir
    mk_cta.tell %flag, %number : memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_Word:$word, Index:$number);
  let assemblyFormat = "$word `,` $number attr-dict `:` type($word)";
}

def MkCta_AwaitToldOp : MkCta_Op<"await_told", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "wait until other warps of the CTA have told of a number";
  let description = [{
    Looks again and again until the word tells of `number` or a later one, modulo 2^32, and gives true; or until the
    word `quit` is not zero, and gives false. The load has acquire order at the scope of the CTA. The consumers tell of
    a step after their acquire of its beginning, so causality order carries what earlier steps wrote, on any CTA, to
    the waiting thread.

    ```mlir
    %told = mk_cta.await_told %flag, %number quit %quit : memref<1xi32, 3>, memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_Word:$word, Index:$number, MkCta_Word:$quit);
  let results = (outs I1:$result);
  let assemblyFormat = "$word `,` $number `quit` $quit attr-dict `:` type($word) `,` type($quit)";
}

def MkCta_RingReleaseOp : MkCta_Op<"ring_release", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "give a slot back";
  let description = [{
    All threads of a consumer warp run it together, after their last read of the slot; one of them arrives. The
    arrival has release semantics at the scope of the CTA, but that orders the loader, not the engine which the loader
    asks to copy: a read that has been issued and has not been answered can be overtaken by the copy, seldom and only when
    the consumers are the slower side. So the arrival depends on `read`, a word at least of every answer (32 bits each):
    its address has their bits added, masked by a zero that no compiler knows, the grid's third size less one. Reads
    need no fence of the proxies then, which would also wait for every other access of the thread;
    writes to the slot do, `mk_cta.proxy_fence`.

    ```mlir
    mk_cta.ring_release %empty[%slot] after %word : memref<12xi64, 3>, i32
    ```
  }];
  let arguments = (ins MkCta_Barriers:$barriers, Index:$slot, Variadic<AnyTypeOf<[I32, F32]>>:$read);
  let assemblyFormat = [{
    $barriers `[` $slot `]` (`after` $read^)? attr-dict `:` type($barriers) (`,` type($read)^)?
  }];
}

def MkCta_ProxyFenceOp : MkCta_Op<"proxy_fence", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "order what threads wrote before later copies by the copy engine";
  let description = [{
    `fence.proxy.async`: threads and the copy engine use different proxies, and causality order between them needs a
    fence on its path (PTX memory model, 8.6.1). For `shared` memory between a thread's writes of a slot and the slot's
    release; for `global` memory between an acquire of what other threads wrote and a copy that reads it.

    ```mlir
    mk_cta.proxy_fence shared
    ```
  }];
  let arguments = (ins UnitAttr:$global);
  let assemblyFormat = "(`global` $global^):(`shared`)? attr-dict";
}

def MkCta_FragmentOp : MkCta_Op<"fragment", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "read a thread's 16 bytes of a tile";
  let description = [{
    One 16-byte load from shared memory, at `place` times 16 bytes in the slot. The threads of a warp read 512
    bytes side by side, without conflicts of banks; as an operation of its own it is never split.

    ```mlir
    %words = mk_cta.fragment %ring[%slot], %place : memref<12x4096xi32, 3> -> vector<4xi32>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I32], [2]>:$ring, Index:$slot, Index:$place);
  let results = (outs VectorOfLengthAndType<[4], [I32]>:$result);
  let assemblyFormat = "$ring `[` $slot `]` `,` $place attr-dict `:` type($ring) `->` type($result)";
}

def MkCta_TransposedOp : MkCta_Op<"transposed", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "read four blocks of 8 rows and 8 columns, columns first";
  let description = [{
    `ldmatrix.x4.trans`: lane 8 i + r gives the `place`, times 16 bytes in the slot, of row r of block i, eight bfloat16
    elements. Word i of lane 4 g + t holds rows 2 t and 2 t + 1 of column g of block i: operand B of a tensor core
    product whose k are the rows. All threads of the warp take part.

    ```mlir
    %words = mk_cta.transposed %ring[%slot], %place : memref<12x4096xi32, 3> -> vector<4xi32>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I32], [2]>:$ring, Index:$slot, Index:$place);
  let results = (outs VectorOfLengthAndType<[4], [I32]>:$result);
  let assemblyFormat = "$ring `[` $slot `]` `,` $place attr-dict `:` type($ring) `->` type($result)";
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
    has read is then worth nothing, but the CTA goes on to the next poll, where it leaves.

    ```mlir
    %since, %again = mk_cta.look_again %context, %worker, %number, %overdue, %begin : memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_Context:$context, Index:$worker, Index:$number, MkCta_Word:$overdue, I64:$begin);
  let results = (outs I64:$since, I1:$again);
  let assemblyFormat = "$context `,` $worker `,` $number `,` $overdue `,` $begin attr-dict `:` type($overdue)";
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
