// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_TD
#define MK_PASSES_GPU_TD

include "mlir/Pass/PassBase.td"

def RecordRows : Pass<"mk-record-rows", "::mlir::ModuleOp"> {
  let summary = "give inputs and results their places in the records of a call";
  let description = [{
    A call of a function with inputs may have more rows than a step. On a GPU one run computes all of them, step by step,
    and the host writes inputs before it and reads results after it. So these are no activations, which have the rows of a
    step, but parts of records, of which the call has one for each of its rows: records of what `mk_task.buffer` calls
    inputs, and records of what `mk.finish` has for operands. Each begins a line of 64 bytes, in the order of declaration.
    For a CPU, and without a `mk.finish`, the pass does nothing.

    **Requires** `mk-form-tasks` and a GPU. **Ensures** a `record` and an `offset` of these buffers.

    ```mlir
    mk_task.buffer @image input domain(tokens) : tensor<?x24xf32>
    mk_task.buffer @ids input domain(tokens) : tensor<?xi32>
    mk_task.buffer @result0 domain(tokens) : tensor<?x8xf32>
    mk_task.kind @finish class(serial) domain(tokens) {
    ^bb0(%r: tensor<?x8xf32>):
      mk.finish %r : tensor<?x8xf32>
      mk.yield
    }
    mk_task.family @end kind(@finish) [@result0] -> []
    // becomes
    mk_task.buffer @image input domain(tokens) record(192) offset(0) : tensor<?x24xf32>
    mk_task.buffer @ids input domain(tokens) record(192) offset(128) : tensor<?xi32>
    mk_task.buffer @result0 domain(tokens) record(64) offset(0) : tensor<?x8xf32>
    ```
  }];
}

def OrderColumns : Pass<"mk-order-columns", "::mlir::ModuleOp"> {
  let summary = "lay rows out as the tensor cores read them";
  let description = [{
    A thread of a tensor core product holds 8 elements of each 32 columns, which are not neighbours. Rows that
    are multiplied, and vectors that scale them, get an order in which they are, so that one load brings them;
    the results of `mk.attend` get theirs for the same reason. Whoever writes a row puts each column in its place.
    The gain of a norm before a product moves into the product's weights, unless these are also looked up by row.
    For a CPU the pass does nothing.

    **Requires** `mk-form-tasks` and a GPU. **Ensures** an `order` on these buffers and `layout(fragments)` on these
    vectors; values are unchanged.

    ```mlir
    mk_task.weight @gain [@gain] layout(rows) : tensor<64xf32>
    mk_task.weight @matrix [@matrix] layout(tiles) : tensor<32x64xbf16>
    mk_task.buffer @in domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @out domain(tokens) : tensor<?x32xf32>
    mk_task.kind @normed class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<32x64xbf16>, %g: tensor<64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> prologue {
      ^bb0(%row: tensor<?x64xf32>):
        %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
        mk.yield %n : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.family @project kind(@normed) [@in, @matrix, @gain] -> [@out]
    // becomes
    mk_task.weight @gain [@gain] layout(fragments) : tensor<64xf32>
    ...
    mk_task.buffer @in domain(tokens) order(fragments) : tensor<?x64xf32>
    mk_task.buffer @out domain(tokens) : tensor<?x32xf32>
    ```
  }];
}

def JoinRanges : Pass<"mk-join-ranges", "::mlir::ModuleOp"> {
  let summary = "let who has all ranges of some heads join them";
  let description = [{
    Ranges of attention go to many CTAs, and their join is one more visit to memory that every operator behind it
    waits for. With many tokens there are heads enough for all CTAs, so one may as well have all ranges of some heads, one
    after the other, and join them on the chip. So a kind of attention also computes what the family behind it does, if
    that only joins ranges and some of them fit into the shared memory. Which of the two writes the rows of a step is
    decided by its sizes, in the kernel for more than 8 tokens alone; the one for fewer has none of this. Either gives the
    same bits, which is why `mk-verify-schedule` lets two families write them. For a CPU, and for steps of at most 8
    tokens, the pass does nothing.

    Who writes words of a flagged buffer changes from step to step, who takes them back does not depend on that. The
    words of the rows are taken back by the tasks of the joining family, in every step, for all tokens of the step before,
    whoever has written them. The words of the ranges are taken back by the tasks of attention, for the items that the step before
    dealt out: if it joined on the chip it has written none. The kernel for few tokens knows nothing of that and takes
    back words that were not written too, which are all ones already. So the other copy holds only words of
    the step before, whichever kernels ran, and they are gone after this one.

    **Requires** `mk-flag-buffers`, before `mk-split-kinds`. **Ensures** values are unchanged.

    ```mlir
    mk_task.buffer @positions request domain(tokens) : tensor<?xi32>
    mk_task.buffer @slots request domain(tokens) : tensor<?xi32>
    mk_task.cache @kv layer(0) : !mk.cache<2x32xbf16>
    mk_task.buffer @q domain(tokens) : tensor<?x128xf32>
    mk_task.buffer @ranges flagged domain(tokens) order(ranges) : tensor<?x272xf32>
    mk_task.buffer @rows flagged domain(tokens) : tensor<?x128xf32>
    mk_task.kind @attend class(attend) domain(tokens) {
    ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<2x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>):
      %y = mk.attend %q, %c, %p, %s {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
        : (tensor<?x128xf32>, !mk.cache<2x32xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x272xf32>
      mk.yield %y : tensor<?x272xf32>
    }
    mk_task.kind @combine class(columns) domain(tokens) units(32) segments [#mk_task.segment<base = 0, limit = 128, outer = 32, stride = 4, half = 2, partner = 2>] {
    ^bb0(%y: tensor<?x272xf32>, %p: tensor<?xi32>):
      %x = mk.combine %y, %p {head_dim = 32 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x272xf32>, tensor<?xi32>) -> tensor<?x128xf32>
      mk.yield %x : tensor<?x128xf32>
    }
    mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots] -> [@ranges]
    mk_task.family @b kind(@combine) [@ranges, @positions] -> [@rows]
    // becomes
    ...
    mk_task.kind @attend class(attend) domain(tokens) {
    ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<2x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>):
      %y = mk.attend %q, %c, %p, %s {scale = 2.500000e-01 : f64, split = 32 : i64, splits = 2 : i64}
        : (tensor<?x128xf32>, !mk.cache<2x32xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x272xf32>
      %x = mk.combine %y, %p {head_dim = 32 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x272xf32>, tensor<?xi32>) -> tensor<?x128xf32>
      mk.yield %y, %x : tensor<?x272xf32>, tensor<?x128xf32>
    }
    ...
    mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots] -> [@ranges, @rows]
    mk_task.family @b kind(@combine) [@ranges, @positions] -> [@rows]
    ```
  }];
}


def SplitKinds : Pass<"mk-split-kinds", "::mlir::ModuleOp"> {
  let summary = "one kind for each way in which its buffers lie";
  let description = [{
    Families of equal operators share a kind, and with it code in which it is fixed how rows lie: the order of their
    columns, whether their words say themselves that they are there, whether they are in the records of a call. These
    follow from who else uses a buffer, so they may differ between families; such get kinds of their own. For a CPU the
    pass does nothing.

    **Requires** `mk-order-columns`, `mk-flag-buffers` and a GPU. **Ensures** that whatever lies in the place of one
    operand or result of a kind lies in one way.

    ```mlir
    mk_task.buffer @in domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @plain domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @words flagged domain(tokens) : tensor<?x64xf32>
    mk_task.kind @relu class(columns) domain(tokens) {
    ^bb0(%a: tensor<?x64xf32>):
      %b = mk.relu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %b : tensor<?x64xf32>
    }
    mk_task.family @first kind(@relu) [@in] -> [@plain]
    mk_task.family @second kind(@relu) [@in] -> [@words]
    // becomes
    mk_task.kind @relu class(columns) domain(tokens) {
    ...
    mk_task.kind @relu_0 class(columns) domain(tokens) {
    ...
    mk_task.family @first kind(@relu) [@in] -> [@plain]
    mk_task.family @second kind(@relu_0) [@in] -> [@words]
    ```
  }];
}

def LowerGpuKinds : Pass<"mk-lower-gpu-kinds", "::mlir::ModuleOp"> {
  let summary = "turn each kind into a function that the threads of a CTA run";
  let description = [{
    Writes one `func.func @<kind>(context, instruction, number, worker, step, tokens, rows, ring)` per `mk_task.kind`, beside the
    program; the function gives the ring's next place. A `tiles` kind becomes: fragments of the rows, loaded
    once from memory to registers; for every two tiles in the ring tensor core products; sums added across the warps in
    fixed order; the epilogue, a column a thread. An `experts` kind reads its route first, and then is that for each expert
    which a token of the step has chosen. If a step may have more than eight tokens, either also gets a
    function `@<kind>.8` for steps that do not. A kind of a family under conditions that writes flagged words also gets a
    function `@<kind>.passed` for steps in which they do not hold: it writes nothing, but takes back, as the body does
    first, what the step before may have written in the other copy. So a word is never older than its step, whoever ran.
    Also sets the program's `scratch`, here all of the shared memory.

    **Requires** `mk-tile`, `mk-order-columns`, and `mk.target` of a GPU and `mk.options` on the module.
    **Ensures** a function for every kind in arith, math, scf, vector, memref, nvvm and mk_cta.

    ```mlir
    mk_task.buffer @in domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @out domain(tokens) offset(4096) : tensor<?x64xf32>
    mk_task.kind @double class(columns) domain(tokens) units(16)
      segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
    ^bb0(%x: tensor<?x64xf32>):
      %y = mk.add %x, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    mk_task.family @twice kind(@double) [@in] -> [@out]
    // is followed by, beside the program and after canonicalization
    func.func private @double(%context: !mk_cta.context, %i: !mk_cta.instruction, %number: index, %worker: index, %step: index, %tokens: index, ...
      %thread = mk_cta.thread
      ...
      %begin = mk_cta.field %i, "begin"[0]
      %end = mk_cta.field %i, "end"[0]
      %first = arith.index_cast %begin : index to i32
      %last = arith.index_cast %end : index to i32
      %units = arith.subi %last, %first : i32
      %count = arith.index_cast %tokens : index to i32
      %rows = arith.muli %units, %count : i32
      %columns = arith.muli %rows, %c4_i32 : i32
      %from = arith.index_cast %thread : index to i32
      scf.for %n = %from to %columns step %c256_i32 : i32 {
        ...
        %x = mk_cta.view %context, "activations", ... : memref<?x64xf32, strided<[64, 1]>, 1>
        %a = memref.load %x[%row, %column] : memref<?x64xf32, strided<[64, 1]>, 1>
        %b = arith.addf %a, %a : f32
        %y = mk_cta.view %context, "activations", ... : memref<?x64xf32, strided<[64, 1]>, 1>
        memref.store %b, %y[%row, %column] : memref<?x64xf32, strided<[64, 1]>, 1>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect",
                           "::mlir::func::FuncDialect", "::mlir::mk_cta::MkCtaDialect"];
}

def BuildKernel : Pass<"mk-build-kernel", "::mlir::ModuleOp"> {
  let summary = "write the persistent kernel: a loader warp and consumer warps over the table";
  let description = [{
    Adds the kernel `@mk_main(!mk_cta.context)`. Its consumer warps run the table as `mk-build-main` has it on the
    CPU: for every step, for every instruction, the waits, the function of its kind, its signal. Its loader warp
    walks the same table, but copies what the instructions read into the ring: tiles of weights, for which it waits for
    nothing but slots, so it runs ahead of the consumers over operators, layers and tokens, blocks of the cache, for
    which it waits until the consumers have told of the step, and tiles of experts, for which it waits for the words of
    the route that say which experts these are. One launch is one generation. If a step may have more than
    eight tokens, a second kernel `@mk_main_8` is for launches whose steps do not: with the functions `@<kind>.8`.

    An instruction under conditions begins with the words of its predicates (`mk_cta.await_predicate`), each asked for if those
    before it hold. If one does not hold the consumers run the kind's `.passed`; they wait and signal as ever, but for hints, which
    nobody needs who reads no words. If the
    instruction has something in the ring the loader asks too, once the step has begun, before it brings any of it; and
    the consumers signal only after it has: then nobody looks at a word any more when the next step takes it back.

    **Requires** `mk-build-table` and `mk-lower-gpu-kinds`. **Ensures** that the program is code: the
    `mk_task.program` is erased.

    ```mlir
    func.func private @first(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
    mk_task.program @step {
      mk_task.kind @first class(columns) domain(tokens) units(1) {
      ^bb0(%x: tensor<?x32xf32>):
        %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
        mk.yield %y : tensor<?x32xf32>
      }
      mk_task.table counts [0] kinds [@first] families [] events [] words dense<-1> : tensor<1x1x32xi32>
    }
    // becomes, after canonicalization
    func.func @mk_main(%context: !mk_cta.context) attributes {mk.kernel = 384 : i32} {
      ...
      %block = nvvm.read.ptx.sreg.ctaid.x : i32
      %worker = arith.index_cast %block : i32 to index
      ...
      mk_cta.ring_init %full, %empty {consumers = 8 : i64} ...
      nvvm.barrier0
      ...
      scf.if ... { // the consumers
        ...
        scf.while ...
          ...
          scf.while ...
            ...
            mk_cta.poll %context, %worker, ...
            ...
            nvvm.barrier ...
            ...
            scf.index_switch ...
            case 0 {
              func.call @first(%context, ...
            ...
            nvvm.barrier ...
            ...
            mk_cta.arrive %context, ...
          ...
          mk_cta.poll %context, %worker, ...
      ...
      } else { // the loader
        ...
        mk_cta.ring_await empty %free[%slot], %parity ...
        ...
        mk_cta.ring_fill %ring[%slot], %filled, %context, "stream", ...
    ```
  }];
  let options = [Option<"trace", "trace", "bool", "false", "note the times of every instruction">,
                 Option<"keep", "keep", "bool", "false", "leave the program, for mk-verify-ring">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::func::FuncDialect", "::mlir::NVVM::NVVMDialect", "::mlir::mk_cta::MkCtaDialect"];
}

def VerifyRing : Pass<"mk-verify-ring", "::mlir::ModuleOp"> {
  let summary = "prove that the consumers of a CTA use what its loader brings";
  let description = [{
    The loader and the consumers of a kernel walk the same table and meet in the ring only: nothing tells a consumer what a
    slot holds but the order. The pass runs both halves of `@mk_main`, and of `@mk_main_8` for steps of at most 8 tokens, if
    there is one, and the functions of kinds that they call, on numbers alone: loop bounds, fields of instructions and the
    sizes of a step are known, data is not. It shows, for two steps one after the other and for every number of tokens that
    a step may have:

    1. Use k of the ring, of either half, is of slot k modulo the number of slots, and waits for the phase that belongs to it.
       Before the loader fills a slot it waits for all consumers to have given it back.
    2. What the loader fills for use k is what the consumers take it for (`mk_cta.ring_holds`), and as many bytes as it
       announces are copied.
    3. Every warp gives back each slot exactly once, after it has waited for it and before it waits for that slot again.

    The table is taken by the instructions that differ in kind and number of units. Where their units begin and where their
    weights lie is a symbol, so these may be anything. An instruction of attention is taken as it is, and contexts are a
    choice: those that end before, at and behind the borders of pages, ranges and windows. So are the experts that a step
    has chosen: each half has their list in shared memory, made by the same code of the same words. Of predicates
    (`mk_cta.await_predicate`) both halves get the same side, and for the conditions of each instruction there is a step in which
    they hold, and one for each of them in which it alone fails. What a use depends on must be a number: a kernel in which
    it depends on data is refused.

    **Requires** `mk-build-kernel{keep=true}`. **Ensures** that the `mk_task.program` and every `ring_holds` are gone.

    ```mlir
    func.func @mk_main(%context: !mk_cta.context) {
      return
    }
    mk_task.program @step {
    }
    // becomes
    func.func @mk_main(%context: !mk_cta.context) {
      return
    }
    ```
  }];
}

def TimeRing : Pass<"mk-time-ring", "::mlir::ModuleOp"> {
  let summary = "let bodies note how long they wait for the ring";
  let description = [{
    Makes each wait for a full slot in a kind's function a timed one: what it adds up is the time in which the consumers
    had nothing to multiply because the loader was behind. The kernel notes the sum behind each body. Part of the kernel
    pipeline with `trace` only.

    **Requires** `mk-lower-gpu-kinds`. **Ensures** that every `ring_await full` of a private function is `timed`.

    ```mlir
    func.func private @body(%context: !mk_cta.context, %worker: index, %number: index, %slot: index, %parity: i32) {
      %full = mk_cta.shared 0 : memref<4xi64, 3>
      %over = mk_cta.shared 1004 : memref<1xi32, 3>
      %landed = mk_cta.ring_await full %full[%slot], %parity in %context, %worker, %number, %over : memref<4xi64, 3>, memref<1xi32, 3>
      return
    }
    // becomes
    func.func private @body(%context: !mk_cta.context, %worker: index, %number: index, %slot: index, %parity: i32) {
      %sum = mk_cta.shared 1020 : memref<1xi32, 3>
      %full = mk_cta.shared 0 : memref<4xi64, 3>
      %over = mk_cta.shared 1004 : memref<1xi32, 3>
      %landed = mk_cta.ring_await full %full[%slot], %parity in %context, %worker, %number, %over timed %sum ...
    ```
  }];
  let dependentDialects = ["::mlir::mk_cta::MkCtaDialect"];
}

def AddPacker : Pass<"mk-add-packer", "::mlir::ModuleOp"> {
  let summary = "add the kernels that bring weights into tiles";
  let description = [{
    `@mk_pack` writes the tiles of one matrix in device memory, in the layout `tiles` of a GPU; `@mk_random` fills a
    matrix with numbers that depend on a seed and their index only, for measurements without a checkpoint. Both
    are the same for every program.

    ```mlir
    func.func @mk_main(%context: !mk_cta.context) {
      return
    }
    // is followed by
    func.func @mk_pack(%source: !llvm.ptr<1>, %map: !llvm.ptr<1>, %places: !llvm.ptr<1>, %stream: !llvm.ptr<1>, ...
      ...
      scf.for %fragment = ... : i64 {
        ...
        %place = llvm.getelementptr %map[%entry] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i32
        %row = llvm.load %place : !llvm.ptr<1> -> i32
    ...
    func.func @mk_random(%to: !llvm.ptr<1>, %number: i64, %seed: i64, %scale: f32) attributes {mk.kernel = 256 : i32} {
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::func::FuncDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

def LowerCtaToNVVM : Pass<"mk-lower-cta-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "lower mk_cta to the nvvm and llvm dialects";
  let description = [{
    A context becomes a parameter by value, an instruction one word in each lane, views memref descriptors in the
    global or shared space; ring, counters and tensor core products become what PTX has for them. The memory
    order of each is argued in the description of its operation.

    **Requires** `mk-build-kernel`. **Ensures** no `mk_cta` op or type is left.

    ```mlir
    mk_cta.arrive %context, %event, %hint
    // becomes, after canonicalization
    %line = arith.constant 64 : i32
    %field = llvm.getelementptr %context[16] : (!llvm.ptr) -> !llvm.ptr, i8
    %events = llvm.load %field invariant {alignment = 8 : i64} : !llvm.ptr -> i64
    %number = arith.index_cast %event : index to i32
    %offset = arith.muli %number, %line : i32
    %small = arith.index_cast %offset : i32 to index
    %byte = arith.index_cast %small : index to i64
    %counter = arith.addi %events, %byte : i64
    %bit = arith.extui %hint : i1 to i32
    llvm.inline_asm ... "{ .reg .pred hint; setp.ne.u32 hint, $1, 0; @hint red.relaxed.gpu.global.add.u64 [$0], 1; @!hint red.release.gpu.global.add.u64 [$0], 1; }", "l,r,~{memory}" %counter, %bit : (i64, i32) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def MarkKernels : Pass<"mk-mark-kernels", "::mlir::ModuleOp"> {
  let summary = "make kernels of the functions that are meant to be";
  let description = [{
    A function with the attribute `mk.kernel`, its threads, becomes an entry point whose CTAs may have a whole
    multiprocessor. Only a `llvm.func` can say so, hence the attribute until then.

    ```mlir
    llvm.func @f() attributes {mk.kernel = 384 : i32} {
      llvm.return
    }
    // becomes
    llvm.func @f() attributes {nvvm.kernel, nvvm.maxntid = array<i32: 384>, nvvm.minctasm = 1 : i32} {
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // MK_PASSES_GPU_TD
