// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ring of tiles in a CTA's shared memory: the loader warp fills its slots, by the copy engine where
// there is one, the consumer warps read them and give them back. Included by MkCtaGpuOps.td.
#ifndef MK_CTA_RING_OPS_TD
#define MK_CTA_RING_OPS_TD

include "mlir/IR/EnumAttr.td"

/// What a thread of a CTA waits for inside the CTA. In a stall block an event of -value stands for it; -1 and -2 are
/// the end of a step and flagged words.
def MkCta_RingWait : I32EnumAttr<"RingWait", "what a warp waits for in its own CTA", [
    I32EnumAttrCase<"full", 3>, I32EnumAttrCase<"empty", 4>, I32EnumAttrCase<"landed", 5>,
    I32EnumAttrCase<"begun", 6>, I32EnumAttrCase<"passed", 7>, I32EnumAttrCase<"left", 8>]> {
  let cppNamespace = "::mlir::mk_cta";
  let description = [{
    * `full`: consumers, for the bytes of a slot;
    * `empty`: the loader, for the consumers to give a slot back;
    * `landed`: the loader, for its own copies;
    * `begun`: the loader, for the consumers to begin a step;
    * `passed`: the consumers, for the loader to have read what a step was asked to do;
    * `left`: the loader, when it has brought everything, for the consumers to leave.

    The consumers look at no clock while they wait for a slot, which costs a step 1 to 2 %: until they leave, the
    loader always is in a wait that does. It waits twice as long as the context says before it gives up: mostly it waits because the consumers
    do, and what these wait for says more.
  }];
}

def MkCta_RingInitOp : MkCta_Op<"ring_init", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "set up the barriers of the ring";
  let description = [{
    One thread does, once per launch. An `empty` barrier has `consumers` arrivals, one for each consumer warp. A `full`
    barrier has one arrival, the loader's announcement, and completes when the announced bytes have landed; on a target
    without bulk copies it has 32, one of each lane of the loader, whose copies have landed by then. The fence makes
    the barriers visible to the copy engine; a barrier of the CTA must follow.

    ```mlir
    mk_cta.ring_init %full, %empty {consumers = 8 : i64} : memref<12xi64, 3>, memref<12xi64, 3>
    ```
  }];
  let arguments = (ins MkCta_Barriers:$full, MkCta_Barriers:$empty, I64Attr:$consumers);
  let assemblyFormat = "$full `,` $empty attr-dict `:` type($full) `,` type($empty)";
}

def MkCta_RingAwaitOp : MkCta_Op<"ring_await", [MemoryEffects<[MemRead, MemWrite]>, AttrSizedOperandSegments]> {
  let summary = "wait for a phase of a barrier of the ring";
  let description = [{
    Spins until the phase of parity `parity` has completed, and gives true; or until the word `quit` is not zero, or
    the wait is overdue, and gives false. Completion of a phase has acquire semantics at the scope of the CTA: the
    consumers see the bytes that were copied, and the loader may overwrite what the consumers have read.

    Only a first look in vain leads to a clock, and none of `full`: the loader has it. A wait is overdue when it has taken longer than the context's
    `stall_ns`, or the double of it for the loader (see `RingWait`). Then the CTA's word `overdue` is set, and who sets
    it writes the worker's line of the stall block: instruction `number`, the event that stands for `what`, and the slot.
    A consumer that got false goes on with bytes that are worth nothing, up to the next poll, where the CTA leaves.

    With `timed`, thread 0 of the CTA adds the nanoseconds until the phase has completed to a word, if the first look
    was in vain.

    ```mlir
    %free = mk_cta.ring_await empty %empty[%slot], %parity in %context, %worker, %number, %overdue quit %quit
      : memref<12xi64, 3>, memref<1xi32, 3>, memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_RingWait:$what, MkCta_Barriers:$barriers, Index:$slot, I32:$parity,
                       MkCta_Context:$arenas, Index:$worker, Index:$number, MkCta_Word:$overdue,
                       Optional<MkCta_Word>:$quit, Optional<MkCta_Word>:$timed);
  let results = (outs I1:$result);
  let assemblyFormat = [{
    $what $barriers `[` $slot `]` `,` $parity `in` $arenas `,` $worker `,` $number `,` $overdue (`quit` $quit^)?
    (`timed` $timed^)? attr-dict `:` type($barriers) `,` type($overdue) (`,` type($quit)^)? (`timed` type($timed)^)?
  }];
}

def MkCta_RingHoldsOp : MkCta_Op<"ring_holds", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "say what the next slot of the ring holds";
  let description = [{
    Loader and consumers say it each from their own loop counters, the one before it fills a slot, the others before they
    wait for it, and `mk-verify-ring` proves that they say the same. A tile of weights is where it lies in the stream,
    in bytes; a block of keys or values has the numbers of its item, of the block and of the part of it. No code comes of it.

    ```mlir
    mk_cta.ring_holds %offset
    mk_cta.ring_holds %item, %block, %part
    ```
  }];
  let arguments = (ins Variadic<Index>:$what);
  let assemblyFormat = "$what attr-dict";
}

def MkCta_RingFillOp : MkCta_Op<"ring_fill", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "fill a slot";
  let description = [{
    All threads of the loader warp run it together. One of them announces `bytes` to the slot's `full` barrier and issues
    one bulk copy from `offset` bytes into the arena to the slot. The bytes are read once a step: the copy asks the L2
    cache to evict them first. What the copy reads was written before the launch, so it needs no fence of the proxies.

    On a target without bulk copies each lane copies every 32nd piece of 16 bytes by `cp.async`, and then lets its
    arrival at the `full` barrier follow the last of them (`cp.async.mbarrier.arrive.noinc`). That makes the copies of
    this thread complete before its arrival, and an mbarrier's phase is observed with acquire order by whoever waits for
    it: so a consumer reads what all lanes have copied. These copies are accesses of the generic proxy, behind the
    loader's acquire of the `empty` barrier in program order: no fence of the proxies comes into it.

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

def MkCta_RingCopyOp : MkCta_Op<"ring_copy", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "fill a part of a slot";
  let description = [{
    One bulk copy of `bytes` bytes, a multiple of 16, from `offset` bytes into the arena to `place` times 16 bytes in the
    slot; each lane of the loader may have one of its own. What it reads may have been written in an earlier step: an acquire
    and `mk_cta.proxy_fence global` must come first. On a target without bulk copies the lane copies 16 bytes at a time
    by `cp.async.cg`, which reads through the L2 cache: behind the acquire it finds there what others wrote.

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

def MkCta_RingAnnounceOp : MkCta_Op<"ring_announce", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "say that all copies to a slot are under way, and how many bytes they bring";
  let description = [{
    For a slot that several copies fill: all threads of the loader warp run it together, behind their copies. One is the
    arrival of the slot's `full` barrier and announces the bytes of all copies; that some may have landed before does not
    matter, as the phase has this one arrival pending. On a target without bulk copies every lane arrives when its own
    copies have landed, as for `ring_fill`.

    ```mlir
    mk_cta.ring_announce %full[%slot], %bytes : memref<12xi64, 3>
    ```
  }];
  let arguments = (ins MkCta_Barriers:$full, Index:$slot, I32:$bytes);
  let assemblyFormat = "$full `[` $slot `]` `,` $bytes attr-dict `:` type($full)";
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
    Looks again and again until the word tells of `step` or a later one, modulo 2^32, and gives true; or until the
    word `quit` is not zero, or the wait is overdue as that of `ring_await` may be, and gives false. The load has
    acquire order at the scope of the CTA. The consumers tell of a step after their acquire of its beginning, so causality
    order carries what earlier steps wrote, on any CTA, to the waiting thread.

    ```mlir
    %told = mk_cta.await_told begun %flag, %step in %context, %worker, %number, %overdue quit %quit
      : memref<1xi32, 3>, memref<1xi32, 3>, memref<1xi32, 3>
    ```
  }];
  let arguments = (ins MkCta_RingWait:$what, MkCta_Word:$word, Index:$step, MkCta_Context:$context, Index:$worker,
                       Index:$number, MkCta_Word:$overdue, MkCta_Word:$quit);
  let results = (outs I1:$result);
  let assemblyFormat = [{
    $what $word `,` $step `in` $context `,` $worker `,` $number `,` $overdue `quit` $quit attr-dict
    `:` type($word) `,` type($overdue) `,` type($quit)
  }];
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
    release; for `global` memory between an acquire of what other threads wrote and a copy that reads it. On a target
    without bulk copies all copies are of the generic proxy, and this is nothing.

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
