// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_TASK_ATTRS_TD
#define MK_TASK_ATTRS_TD

include "MkTaskDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def MkTask_KindClass : I32EnumAttr<"KindClass", "how a kind's work is cut into units", [
    I32EnumAttrCase<"tiles", 0>, I32EnumAttrCase<"columns", 1>, I32EnumAttrCase<"attend", 2>,
    I32EnumAttrCase<"serial", 3>, I32EnumAttrCase<"experts", 4>]> {
  let cppNamespace = "::mlir::mk_task";
  let description = [{
    * `tiles`: a `mk.linear`; a unit is one weight tile of `2 * lanes` rows, for all tokens;
    * `columns`: row-wise ops; a unit is `2 * lanes` columns of the result, or one head where a column needs all of
      its head, for all tokens;
    * `attend`: a `mk.attend`; a unit is one share of the (range, token block, head) items;
    * `serial`: one unit;
    * `experts`: a `mk.moe_linear` or `mk.moe_combine`; a unit is one weight tile of each expert, the same of all, for the
      tokens that have chosen it: whichever experts a step chooses, every worker has an equal share of each.
  }];
}

def MkTask_Domain : I32EnumAttr<"Domain", "what a buffer has one row for", [
    I32EnumAttrCase<"tokens", 0>, I32EnumAttrCase<"rows", 1>]> {
  let cppNamespace = "::mlir::mk_task";
}

def MkTask_Layout : I32EnumAttr<"Layout", "how a weight lies in memory", [
    I32EnumAttrCase<"tiles", 0>, I32EnumAttrCase<"rows", 1>, I32EnumAttrCase<"fragments", 2>]> {
  let cppNamespace = "::mlir::mk_task";
  let description = [{
    * `tiles`: in the workers' streams, cut into tiles of `2 * lanes` rows; of a tensor<ExRxK> those of expert 0 come
      first, and those of a task lie expert by expert. Within a tile the words of
      4 bytes follow each other as [K / p][2 groups][lanes], a word holding the p = 4 / sizeof(element)
      neighbouring elements of one row. Rows that do not exist are zero; K is padded to p with zeros.
      On a GPU (`lanes` = 2) a tile holds the fragments of its 4 rows for the tensor cores, as [K / 64]
      [2 groups g][4 rows][4 threads t][2 segments of 32][2 halves of 16][2 elements]; element e of these is column
      32 * segment + 16 * half + 8 * g + 2 * t + e of the block, so that a thread's 8 elements of a row of the other operand,
      in the order `fragments`, are an operand as they lie;
    * `rows`: row-major in the parameter arena, K padded to nothing;
    * `fragments`: as `rows`, with the columns of each 32 in the order `fragments` of a buffer, for a GPU.
  }];
}

def MkTask_Order : I32EnumAttr<"Order", "how the columns of a buffer's row follow each other", [
    I32EnumAttrCase<"natural", 0>, I32EnumAttrCase<"fragments", 1>, I32EnumAttrCase<"ranges", 2>]> {
  let cppNamespace = "::mlir::mk_task";
  let description = [{
    * `natural`: in ascending order;
    * `fragments`: within each 32 columns, in an order in which the 8 elements which one thread of a GPU multiplies lie
      side by side: column c is at
      `c / 32 * 32 + p % 4 * 8 + p / 4 * 2 + c % 2`, p = c % 32 / 2;
    * `ranges`: a result of `mk.attend`: the sums of all heads and ranges, each in the order `fragments`, then
      the pairs of largest score and weight.
  }];
}

def MkTask_SegmentAttr : AttrDef<MkTask_Dialect, "Segment"> {
  let mnemonic = "segment";
  let summary = "which columns a run of work units covers";
  let description = [{
    `#mk_task.segment<base = 0, limit = 576, outer = 9, stride = 64, half = 32, partner = 32>`

    Unit u of the segment covers two groups of up to `lanes` columns, A and B = A + partner. With
    `n = ceil(half / lanes)`, `o = u / n` and `s = u % n`, A begins at column `base + o * stride + s * lanes`
    and has `min(lanes, half - s * lanes)` valid columns; columns of either group at or beyond `limit` are
    not valid. The segment has `outer * n` units. Plain columns use `half = partner = lanes`,
    `stride = 2 * lanes`; rope uses half a head; a gated unit uses `outer = 1` and the whole width as
    `half` and `partner`.

    A unit of a `whole` segment is not cut: its groups have `half` columns each, `n = 1`. That is how a head stays
    with one task.
  }];
  let parameters = (ins "int64_t":$base, "int64_t":$limit, "int64_t":$outer, "int64_t":$stride, "int64_t":$half,
                        "int64_t":$partner, DefaultValuedParameter<"bool", "false">:$whole);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Columns of a group, if all are valid.
    int64_t width(int64_t lanes) const { return getWhole() ? getHalf() : lanes; }
    int64_t unitsPerOuter(int64_t lanes) const { return (getHalf() + width(lanes) - 1) / width(lanes); }
    int64_t units(int64_t lanes) const { return getOuter() * unitsPerOuter(lanes); }
    /// First column of group A of a unit, and the valid columns of its groups A and B.
    struct Groups { int64_t a, validA, b, validB; };
    Groups groups(int64_t unit, int64_t lanes) const;
  }];
}

def MkTask_ConditionAttr : AttrDef<MkTask_Dialect, "Condition"> {
  let mnemonic = "condition";
  let summary = "a side of an mk.choose";
  let description = [{
    `#mk_task.condition<buffer = @confident, taken = true>`

    The steps in which column 0 of row 0 of the buffer, a predicate, is not 0; where `taken` is false, those in which it is.
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$buffer, "bool":$taken);
  let assemblyFormat = "`<` struct(params) `>`";
  let extraClassDeclaration = [{
    /// Whether exactly one of the two holds, whatever the predicate is.
    bool excludes(ConditionAttr other) const {
      return getBuffer() == other.getBuffer() && getTaken() != other.getTaken();
    }
  }];
}

#endif // MK_TASK_ATTRS_TD
