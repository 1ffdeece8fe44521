# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a compiled program is made of, as plain data: the contract between the compiler and the runtime.

A `Compiled` (see `mk.compiler.driver`) holds three things, which a package stores as they are:

* `manifest`: a `Manifest`, JSON-able: only dict, list, str, int, float, bool and None;
* `arrays`: NumPy arrays by name, stored as tensors:

  | name | dtype, shape | meaning |
  |---|---|---|
  | `table` | int32 [workers, instructions, 32] | the instructions; `manifest["abi"]["instruction"]` names the words |
  | `counts` | int64 [workers] | instructions of each worker before the padding |
  | `tile_offsets/NAME` | int64 [tiles] | for each weight NAME of layout `tiles`: place of each tile, see `Weight` |

* `code`: the bytes of a shared library that exports `manifest["entry"]`; of a GPU, a cubin with the kernels
  `manifest["entry"]`, `mk_pack` and `mk_random`.

Sizes and offsets are in bytes unless a field says otherwise. Names of weights, buffers, kinds and families are
those of the symbols in the `mk_task` dump, without the `@`.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from mk.view import View

FORMAT = 6  # grows when a field changes its meaning or goes away


class Target(TypedDict):
    """`#mk.target`: the machine that the code was made for. The runtime refuses a host that lacks a feature."""

    kind: str  # "cpu" or "gpu"
    arch: str  # as `uname -m` has it, e.g. "x86_64"; of a GPU, e.g. "sm_90a"
    cpu: str  # LLVM's name of the processor, e.g. "znver4"
    features: list[str]  # LLVM's names, e.g. ["avx512f", "avx512bf16"]
    workers: int  # of a GPU: one on each SM
    lanes: int  # float32 lanes of a vector register, 2 on a GPU; a tile has 2 * lanes rows
    bandwidth: int  # GB/s, an estimate


class Kernel(TypedDict):
    """A kernel that runs the table, and what ptxas says of it."""

    name: str
    tokens: int  # the most of a step
    registers: int  # of a thread
    spills: int  # bytes of registers that a thread keeps in memory


class Gpu(TypedDict):
    """How a kernel is launched. Of `kernels`, in ascending order of `tokens`, the first that takes a step's is."""

    threads: int  # of a CTA
    shared: int  # bytes of dynamic shared memory of a CTA
    kernels: list[Kernel]


class Sizes(TypedDict):
    """`#mk.options`: the sizes that the program was compiled for."""

    max_tokens: int  # N of a step
    max_rows: int  # R of a step
    max_sequences: int  # slots
    max_length: int  # tokens of a slot; the runtime takes no more
    slot_pages: int  # pages of a slot, enough for max_length
    page: int  # positions of a page
    split: int  # positions of one attention range


class Arenas(TypedDict):
    """Bytes of each memory block that the runtime allocates, 64-byte aligned. `request` holds the request arrays."""

    activations: int
    flagged: (
        int  # of a copy of the flagged buffers, two of which end the activations; ones before the first step
    )
    params: int
    stream: int  # of all workers together
    scratch: int  # of one worker
    request: int
    events: int  # 64 for each event
    context: int  # 8 for each word


class Cache(TypedDict):
    """The page pool is [layers][pool_pages][heads] blocks of `block` bytes; None for a model without attention.

    A block holds the keys of one page as 4-byte words [head_dim / p][page], p = 4 / element size, then its values
    [page][head_dim]. A pool of `max_sequences * slot_pages` pages serves every slot at its full length.
    """

    layers: int
    heads: int
    head_dim: int
    dtype: str  # "float32" or "bfloat16"
    block: int


class Segment(TypedDict):
    """`#mk_task.segment`: unit u covers two groups of columns (= rows of the weight), A and B = A + partner.

    With n = ceil(half / lanes), o = u // n and s = u % n, A begins at `base + o * stride + s * lanes` and has
    `min(lanes, half - s * lanes)` valid columns, B likewise; columns at or beyond `limit` are not valid.
    """

    base: int
    limit: int
    outer: int
    stride: int
    half: int
    partner: int


class Weight(TypedDict):
    """A tensor as it lies in memory: the rows of all `sources` seen through their `views`, one below the other,
    rounded to `dtype`.

    * layout `rows`: row-major at byte `offset` of the parameter arena; rank 1 is a vector.
    * layout `fragments` (GPU): like `rows`, each row filled up with zeros to a multiple of 32 columns, and these 32
      permuted: column c = 2 p + e of them lies at (p % 4) * 8 + (p // 4) * 2 + e.
    * layout `tiles`: tile t, in the order of the units of all `segments`, lies at byte `64 * tile_offsets[t]` of the
      stream arena. It holds 4-byte words [ceil(K / p)][2 groups][lanes], p = 4 / element size: the word holds the p
      neighbouring elements of one row. Rows that are not valid, and elements at or beyond K, are zero. On a GPU, what
      a tile holds is known to the program's own kernel `mk_pack` alone.
    * `gathered`: a `tiles` weight that is also looked up by row. At byte `offset` of the parameter arena lie its
      `tile_offsets` as int32.
    """

    name: str
    sources: list[str]  # names in the state dict, or of the package's constants
    views: list[View | None]  # of each source: how it is seen, None: as it is
    layout: str  # "tiles", "rows" or "fragments"
    shape: list[int]
    dtype: str  # "float32" or "bfloat16"
    offset: int | None
    gathered: bool
    scale: str | None  # a weight whose numbers multiply the columns of this one before it is rounded
    segments: list[Segment]


class Buffer(TypedDict):
    """Rows of an activation in the activation arena, `pitch` bytes apart, from byte `offset` on.

    A buffer with `request` is an array of the request block instead. On a GPU inputs and results of a function lie in
    records, of which a call has one for each of its rows: `offset` is that in a record, and `pitch` its size.
    """

    name: str
    domain: str  # "tokens" or "rows"
    request: bool
    shape: list[int | None]  # [None, columns] or [None]
    dtype: str  # "float32", "bfloat16" or "int32"
    offset: int
    pitch: int
    record: NotRequired[bool]


class Kind(TypedDict):
    """Code shared by families. `kind` words of the table count these."""

    name: str
    kind_class: str  # "tiles", "columns", "attend", "serial" or "experts"
    domain: str
    units: int
    matrices: int  # how many of its weight a row needs: the experts that it chooses; 1 without experts
    window: NotRequired[int]  # of the class "attend": positions that a token sees at most, 0: all


class Family(TypedDict):
    """A kind applied to one operator. `family` words of the table count these; `module` is the model's module path;
    `conditions`: the predicates (buffers) that must not be 0 in a step for its tasks to run, those that must be behind
    "not "."""

    name: str
    kind: str
    module: str
    operands: list[str]
    results: list[str]
    conditions: list[str]


class Field(TypedDict):
    """A word of an instruction (index in int32 words) or of a context (index in 64-bit words)."""

    name: str
    index: int
    doc: str


class RequestArray(TypedDict):
    """`count` elements of `type` (i32, f32, i64) at byte `offset` of the request block."""

    name: str
    type: str
    count: int
    offset: int
    doc: str


class Abi(TypedDict):
    """`runtime/abi/Abi.def` for this program's sizes."""

    instruction_words: int
    context_words: int
    instruction: list[Field]
    context: list[Field]
    request: list[RequestArray]


class FunctionInput(TypedDict):
    """What the host writes before a step: a row, or one integer below `limit`, for each token."""

    buffer: str
    limit: int | None


class FunctionPlan(TypedDict):
    """Of a program of a user's module: where its inputs and results lie, in the order of its signature. A further
    input, `last_positions`, says of each token up to which position of its slot attention over whole entries sees."""

    inputs: list[FunctionInput]
    results: list[str]
    positions: int | None  # how many there may be, if rows are looked up by them


class Manifest(TypedDict):
    """Everything about a program that is not an array or code."""

    format: int
    version: str  # of the compiler
    options: dict[str, object]  # what the user chose, as in mk.compiler.Options
    target: Target
    gpu: Gpu | None  # None for a program of the CPU
    sizes: Sizes
    entry: str  # exported: void (void *context, int32_t worker): runs a worker until the run ends
    vocabulary: int  # columns of the logits; 0 without
    logits: str  # the buffer that holds them, domain rows, float32; "" of a program with a `function`
    function: NotRequired[FunctionPlan]
    arenas: Arenas
    cache: Cache | None
    weights: list[Weight]
    buffers: list[Buffer]
    kinds: list[Kind]
    families: list[Family]
    events: list[str]  # by number
    abi: Abi
