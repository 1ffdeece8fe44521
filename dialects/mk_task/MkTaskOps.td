// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_TASK_OPS_TD
#define MK_TASK_OPS_TD

include "MkTaskDialect.td"
include "MkTaskAttrs.td"
include "dialects/mk/MkTypes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"

class MkTask_Op<string mnemonic, list<Trait> traits = []> : Op<MkTask_Dialect, mnemonic, traits>;
class MkTask_SymbolOp<string mnemonic> : MkTask_Op<mnemonic, [Symbol, HasParent<"ProgramOp">]>;

def MkTask_ProgramOp : MkTask_Op<"program", [Symbol, SymbolTable, NoTerminator, SingleBlock, IsolatedFromAbove]> {
  let summary = "one model as a plan";
  let description = [{
    Holds the declarations (buffers, caches, weights, events), the kinds, the families in model order and
    the tasks in program order. `activations`, `params`, `stream` and `scratch` are the arena sizes in bytes
    (`stream` for all workers together, `scratch` for each), set by the passes that lay memory out. The last
    `2 * flagged` bytes of the activations are the two copies of all flagged buffers.

    ```mlir
    mk_task.program @step {
      mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, OptionalAttr<I64Attr>:$activations, OptionalAttr<I64Attr>:$params,
                       OptionalAttr<I64Attr>:$stream, OptionalAttr<I64Attr>:$scratch,
                       OptionalAttr<I64Attr>:$flagged);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def MkTask_BufferOp : MkTask_SymbolOp<"buffer"> {
  let summary = "rows of an activation, or an array of the request";
  let description = [{
    One row per token or per logit row of the step. Rows lie `pitch` bytes apart: the columns rounded up to
    a multiple of 64 bytes; a buffer of one integer per row is packed. `offset` is in bytes from the start of
    its arena: the activations, or the request block for the arrays (`tokens`, `positions`, ...) that carry
    the `request` mark. `order` is how the columns of a row lie.

    Each 32-bit word of a `flagged` buffer says by itself whether it has been written in this step: all ones
    mean that it has not. There are two copies, `offset` being the place of the first: step s writes and reads
    copy s % 2, and whoever writes a word in it clears that word in the other. One family writes it, each word once.

    ```mlir
    mk_task.buffer @x domain(tokens) offset(4096) : tensor<?x64xf32>
    mk_task.buffer @tokens request domain(tokens) : tensor<?xi32>
    mk_task.buffer @image input domain(tokens) offset(0) : tensor<?x64xf32>
    ```

    An `input` is what the host has written before the step; no family writes it, and it has bytes of its own.

    On a GPU a call may take many steps of one run, and the rows of inputs and results are those of the whole call:
    row r of such a buffer lies in the record whose number is token r of the request. `record` is the size of a record
    of all inputs, or of all results, and `offset` is the buffer's place in it.

    ```mlir
    mk_task.buffer @image input domain(tokens) record(320) offset(64) : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, UnitAttr:$request, UnitAttr:$input, UnitAttr:$flagged, MkTask_Domain:$domain,
                       DefaultValuedAttr<MkTask_Order, "::mlir::mk_task::Order::natural">:$order,
                       OptionalAttr<I64Attr>:$record, OptionalAttr<I64Attr>:$offset,
                       TypeAttrOf<AnyRankedTensor>:$type);
  let builders = [OpBuilder<(ins "::mlir::StringAttr":$name, "::mlir::UnitAttr":$request,
                             "::mlir::mk_task::DomainAttr":$domain, "::mlir::IntegerAttr":$offset,
                             "::mlir::TypeAttr":$type)>];
  let assemblyFormat = [{
    $sym_name (`request` $request^)? (`input` $input^)? (`flagged` $flagged^)? `domain` `(` $domain `)` (`order` `(` $order^ `)`)?
    (`record` `(` $record^ `)`)? (`offset` `(` $offset^ `)`)? attr-dict `:` $type
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Bytes of a row, filled up to whole lines.
    int64_t getRowBytes();
    /// Bytes from one row to the next.
    int64_t getPitch();
    /// Bytes for the most rows that the options allow.
    int64_t getBytes(::mlir::mk::OptionsAttr options);
  }];
}

def MkTask_CacheOp : MkTask_SymbolOp<"cache"> {
  let summary = "one layer's part of the page pool";
  let description = [{
    The pool is [layer][page][kv head] blocks; a block holds the keys of one page as words of 4 bytes
    [head_dim / p][page] (p = 4 / sizeof(element) neighbouring elements of one position to a word, so that
    positions are the lanes of a score), then its values [page][head_dim].

    ```mlir
    mk_task.cache @kv0 layer(0) : !mk.cache<2x16xbf16>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$layer, TypeAttrOf<Mk_CacheType>:$type);
  let assemblyFormat = "$sym_name `layer` `(` $layer `)` attr-dict `:` $type";
}

def MkTask_WeightOp : MkTask_SymbolOp<"weight"> {
  let summary = "tensors of the checkpoint as they lie in memory";
  let description = [{
    The rows of all `sources` one below the other, each seen through its `#mk.view` in `views` if that has one (or
    `unit`: as it is), in the given layout. `offset` (bytes in the parameter
    arena) places a `rows` weight, and for a `tiles` weight that is also looked up by row (`gathered`) its
    place array: int32 [units], a copy of `tile_offsets`; row r is row `r % (2 * lanes)` of tile
    `r / (2 * lanes)`. `tile_offsets`: for each tile its place in the streams in units of 64 bytes. `scale` names
    a vector that multiplies the columns before they are rounded: the gain of the norm before the product.

    ```mlir
    mk_task.weight @gate_up0 [@model.layers.0.mlp.gate_proj.weight, @model.layers.0.mlp.up_proj.weight]
      layout(tiles) : tensor<192x64xbf16>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypedArrayAttrBase<FlatSymbolRefAttr, "sources">:$sources,
                       MkTask_Layout:$layout, OptionalAttr<I64Attr>:$offset, UnitAttr:$gathered,
                       OptionalAttr<DenseI64ArrayAttr>:$tile_offsets,
                       OptionalAttr<TypedArrayAttrBase<MkTask_SegmentAttr, "segments">>:$segments,
                       OptionalAttr<FlatSymbolRefAttr>:$scale, OptionalAttr<ArrayAttr>:$views,
                       TypeAttrOf<AnyRankedTensor>:$type);
  let builders = [OpBuilder<(ins "::mlir::StringAttr":$name, "::mlir::ArrayAttr":$sources,
                             "::mlir::mk_task::LayoutAttr":$layout, "::mlir::TypeAttr":$type)>];
  let assemblyFormat = [{
    $sym_name $sources (`views` $views^)? `layout` `(` $layout `)` (`gathered` $gathered^)? (`offset` `(` $offset^ `)`)?
    (`segments` $segments^)? (`scale` $scale^)? (`tile_offsets` $tile_offsets^)? attr-dict `:` $type
  }];
  let hasVerifier = 1;
}

def MkTask_KindOp : MkTask_SymbolOp<"kind"> {
  let summary = "code shared by families";
  let description = [{
    A function from its arguments to what its `mk.yield` returns, in `mk` ops; weights, caches and request
    arrays are arguments too. The one `mk.linear` of a `tiles` kind has its work before in the prologue
    and its work after in the epilogue; the kind yields the linear's results. `segments` maps work units to
    columns (of the accumulators, or of the result of a `columns` kind), `units` is their number.

    ```mlir
    mk_task.kind @linear class(tiles) domain(tokens) units(2)
        segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>] {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, MkTask_KindClass:$kind_class, MkTask_Domain:$domain,
                       OptionalAttr<I64Attr>:$units,
                       OptionalAttr<TypedArrayAttrBase<MkTask_SegmentAttr, "segments">>:$segments);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `class` `(` $kind_class `)` `domain` `(` $domain `)` (`units` `(` $units^ `)`)?
    (`segments` $segments^)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The op that the kind is about: its `mk.linear`, `mk.attend` or the op whose results it yields.
    ::mlir::Operation *getAnchor();
    /// The argument whose tiles come from the stream, and how many matrices of it lie behind each other; null if none.
    ::mlir::Value getStreamed();
    int64_t getMatrices();
    ::mlir::Operation *getYield();
  }];
}

def MkTask_FamilyOp : MkTask_SymbolOp<"family"> {
  let summary = "a kind applied to one operator of the model";
  let description = [{
    `operands` name the buffers, weights and caches of the kind's arguments, `results` those of its results
    (a cache result is the cache operand it grows). The location holds the module path.

    `conditions` are sides of `mk.choose` ops. The tasks of the family do their work only in steps
    in which all conditions hold, see `#mk_task.condition`. In any other step they wait and signal all the same, so that no
    count of the schedule depends on data; and on a GPU they clear what they would have cleared of flagged results. Conditions
    are asked for in their order: the predicate of one may be written only if those before it hold.

    ```mlir
    mk_task.family @model.layers.0.mlp.down_proj kind(@linear) [@h, @w] -> [@y]
    mk_task.family @deep kind(@linear) [@h, @w] -> [@z] if [#mk_task.condition<buffer = @confident, taken = false>]
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$kind,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "operands">:$operands,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "results">:$outputs,
                       OptionalAttr<TypedArrayAttrBase<MkTask_ConditionAttr, "conditions">>:$conditions);
  let builders = [OpBuilder<(ins "::mlir::StringAttr":$name, "::mlir::FlatSymbolRefAttr":$kind,
                             "::mlir::ArrayAttr":$operands, "::mlir::ArrayAttr":$outputs)>];
  let assemblyFormat = "$sym_name `kind` `(` $kind `)` $operands `->` $outputs (`if` $conditions^)? attr-dict";
}

def MkTask_EventOp : MkTask_SymbolOp<"event"> {
  let summary = "a counter that grows by `arrivals` each step";
  let description = [{
    Signals release what the task wrote, waits acquire it. A `hint` orders nothing: it says when to look at
    flagged buffers, whose words say themselves whether they are there.

    ```mlir
    mk_task.event @qkv_done arrivals(2)
    mk_task.event @gate_up_done hint arrivals(132)
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, UnitAttr:$hint, I64Attr:$arrivals);
  let assemblyFormat = "$sym_name (`hint` $hint^)? `arrivals` `(` $arrivals `)` attr-dict";
}

def MkTask_TaskOp : MkTask_Op<"task", [HasParent<"ProgramOp">]> {
  let summary = "units [begin, end) of a family, run by one worker";
  let description = [{
    The order of `mk_task.task` ops of one worker is its program order. `waits` are for this step,
    `previous` for the step before. `hints` are for this step and for what the task reads of flagged buffers alone.

    ```mlir
    mk_task.task @down_proj units(0, 9) worker(0) wait [@gate_up_done] previous [] signal [@down_done]
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$family, I64Attr:$begin, I64Attr:$end, I64Attr:$worker,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "waits">:$waits,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "previous waits">:$previous,
                       OptionalAttr<TypedArrayAttrBase<FlatSymbolRefAttr, "hints">>:$hints,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "signals">:$signals,
                       OptionalAttr<I64Attr>:$stream_offset);
  let assemblyFormat = [{
    $family `units` `(` $begin `,` $end `)` `worker` `(` $worker `)` `wait` $waits `previous` $previous
    (`hint` $hints^)? `signal` $signals (`stream` `(` $stream_offset^ `)`)? attr-dict
  }];
  let hasVerifier = 1;
}

def MkTask_TableOp : MkTask_Op<"table", [HasParent<"ProgramOp">]> {
  let summary = "the instructions, as the workers read them";
  let description = [{
    `words` is [workers][instructions][32] int32 in the layout of `runtime/abi/Abi.def`. `counts` is the
    number of instructions of each worker, without the one of kind -1 that ends its list; short workers are
    padded with more of these. `kinds`
    and `families` give the names behind the numbers, `events` the event of each counter.
  }];
  let arguments = (ins ElementsAttr:$words, DenseI64ArrayAttr:$counts,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "kinds">:$kinds,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "families">:$families,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "events">:$events);
  let assemblyFormat = "`counts` $counts `kinds` $kinds `families` $families `events` $events attr-dict `words` $words";
  let hasVerifier = 1;
}

#endif // MK_TASK_OPS_TD
