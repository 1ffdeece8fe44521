// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ring of tiles in a CTA's shared memory: the loader warp fills its slots by the copy engine, the
// consumer warps read them and give them back. Included by MkCtaGpuOps.td.
#ifndef MK_CTA_RING_OPS_TD
#define MK_CTA_RING_OPS_TD

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

def MkCta_RingReleaseOp
    : MkCta_Op<"ring_release", [MemoryEffects<[MemRead, MemWrite]>, AttrSizedOperandSegments]> {
  let summary = "give a slot back";
  let description = [{
    All threads of a consumer warp run it together, after their last read of the slot; one of them arrives. The
    arrival has release semantics at the scope of the CTA, but that orders the loader, not the engine which the loader
    asks to copy: a read that has been issued and has not been answered can be overtaken by the copy, seldom and only when
    the consumers are the slower side. So the arrival depends on `read`, a word at least of every answer (32 bits each):
    its address has their bits added, masked by a zero that no compiler knows, the grid's third size less one. Reads
    need no fence of the proxies then, which would also wait for every other access of the thread;
    writes to the slot do, `mk_cta.proxy_fence`. Where `exists` is false nobody arrives: without a branch, so that the
    work on several slots stays one run of instructions.

    ```mlir
    mk_cta.ring_release %empty[%slot] after %word if %exists : memref<12xi64, 3>, i32
    ```
  }];
  let arguments = (ins MkCta_Barriers:$barriers, Index:$slot, Variadic<AnyTypeOf<[I32, F32]>>:$read,
                       Optional<I1>:$exists);
  let assemblyFormat = [{
    $barriers `[` $slot `]` (`after` $read^)? (`if` $exists^)? attr-dict `:` type($barriers) (`,` type($read)^)?
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

#endif // MK_CTA_RING_OPS_TD
