// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Parser/Parser.h"

namespace mlir::mk {
#define GEN_PASS_DEF_ADDPACKER
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;

/// Thread i of all packs fragments i, i + n, ...: 16 bytes of one row of one tile, see
/// mk_task::Layout::tiles. `%map` has the source row of each of a unit's 4 rows: -1 for zeros, -2
/// to leave what is there. `%type`: 0 float32, 1 bfloat16, 2 float16. `%gain`: null, or a factor
/// for each column, in the order of fragments. Blocks and chunks as in mk_task::FragmentTile.
static constexpr llvm::StringLiteral kKernels = R"mlir(
func.func private @thread() -> (i64, i64) {
  %t = nvvm.read.ptx.sreg.tid.x : i32
  %n = nvvm.read.ptx.sreg.ntid.x : i32
  %c = nvvm.read.ptx.sreg.ctaid.x : i32
  %m = nvvm.read.ptx.sreg.nctaid.x : i32
  %base = arith.muli %c, %n : i32
  %i = arith.addi %base, %t : i32
  %all = arith.muli %m, %n : i32
  %wide = arith.extui %i : i32 to i64
  %step = arith.extui %all : i32 to i64
  return %wide, %step : i64, i64
}
func.func @mk_pack(%source: !llvm.ptr<1>, %map: !llvm.ptr<1>, %places: !llvm.ptr<1>, %stream: !llvm.ptr<1>,
                   %units: i64, %columns: i64, %type: i64, %gain: !llvm.ptr<1>) attributes {mk.kernel = 256 : i32} {
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %c2 = arith.constant 2 : i64
  %c4 = arith.constant 4 : i64
  %c8 = arith.constant 8 : i64
  %c16 = arith.constant 16 : i64
  %c32 = arith.constant 32 : i64
  %c64 = arith.constant 64 : i64
  %leave = arith.constant -2 : i32
  %none = arith.constant 0 : i32
  %gainAddress = llvm.ptrtoint %gain : !llvm.ptr<1> to i64
  %scaled = arith.cmpi ne, %gainAddress, %c0 : i64
  %low16 = arith.constant 16 : i32
  %highMask = arith.constant -65536 : i32
  %first, %step = func.call @thread() : () -> (i64, i64)
  %c31 = arith.constant 31 : i64
  %c63 = arith.constant 63 : i64
  %columns63 = arith.addi %columns, %c63 : i64
  %real = arith.divui %columns63, %c64 : i64
  %real31 = arith.addi %real, %c31 : i64
  %chunks = arith.divui %real31, %c32 : i64
  %last = arith.subi %chunks, %c1 : i64
  %realUp = arith.addi %real, %last : i64
  %ofChunk = arith.divui %realUp, %chunks : i64
  %blocks = arith.muli %chunks, %ofChunk : i64
  %perUnit = arith.muli %blocks, %c32 : i64
  %count = arith.muli %units, %perUnit : i64
  scf.for %i = %first to %count step %step : i64 {
    %unit = arith.divui %i, %perUnit : i64
    %inUnit = arith.remui %i, %perUnit : i64
    %block = arith.divui %inUnit, %c32 : i64
    %lane = arith.remui %inUnit, %c32 : i64
    %group = arith.divui %lane, %c16 : i64
    %quarter = arith.divui %lane, %c4 : i64
    %row = arith.remui %quarter, %c4 : i64
    %t = arith.remui %lane, %c4 : i64
    %unitRow = arith.muli %unit, %c4 : i64
    %entry = arith.addi %unitRow, %row : i64
    %mapPtr = llvm.getelementptr %map[%entry] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i32
    %from = llvm.load %mapPtr : !llvm.ptr<1> -> i32
    %wanted = arith.cmpi ne, %from, %leave : i32
    scf.if %wanted {
      %exists = arith.cmpi sge, %from, %none : i32
      %fromWide = arith.extsi %from : i32 to i64
      %rowBase = arith.muli %fromWide, %columns : i64
      %blockColumn = arith.muli %block, %c64 : i64
      %pair = arith.muli %t, %c2 : i64
      %groupColumn = arith.muli %group, %c8 : i64
      %inSegment = arith.addi %groupColumn, %pair : i64
      %groupPlace = arith.muli %group, %c2 : i64
      %threadPlace = arith.muli %t, %c8 : i64
      %placeInSegment = arith.addi %groupPlace, %threadPlace : i64
      %placePtr = llvm.getelementptr %places[%unit] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i64
      %place = llvm.load %placePtr : !llvm.ptr<1> -> i64
      %placeBytes = arith.muli %place, %c64 : i64
      %inBytes = arith.muli %inUnit, %c16 : i64
      %byte = arith.addi %placeBytes, %inBytes : i64
      %out = llvm.getelementptr %stream[%byte] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i8
      scf.for %w = %c0 to %c4 step %c1 : i64 {
        %segment = arith.divui %w, %c2 : i64
        %half = arith.remui %w, %c2 : i64
        %segmentColumn = arith.muli %segment, %c32 : i64
        %k0 = arith.addi %blockColumn, %segmentColumn : i64
        %halfColumn = arith.muli %half, %c16 : i64
        %k1 = arith.addi %k0, %inSegment : i64
        %k = arith.addi %k1, %halfColumn : i64
        %inside = arith.cmpi slt, %k, %columns : i64
        %read = arith.andi %inside, %exists : i1
        %word = scf.if %read -> i32 {
          %index = arith.addi %rowBase, %k : i64
          %isFloat = arith.cmpi eq, %type, %c0 : i64
          %value = scf.if %isFloat -> i32 {
            %p = llvm.getelementptr %source[%index] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
            %two = llvm.load %p {alignment = 8 : i64} : !llvm.ptr<1> -> vector<2xf32>
            %narrow = arith.truncf %two : vector<2xf32> to vector<2xbf16>
            %bits = llvm.bitcast %narrow : vector<2xbf16> to i32
            scf.yield %bits : i32
          } else {
            %p = llvm.getelementptr %source[%index] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i16
            %two = llvm.load %p {alignment = 4 : i64} : !llvm.ptr<1> -> i32
            %isHalf = arith.cmpi eq, %type, %c2 : i64
            %bits = scf.if %isHalf -> i32 {
              %halves = llvm.bitcast %two : i32 to vector<2xf16>
              %wide = arith.extf %halves : vector<2xf16> to vector<2xf32>
              %narrow = arith.truncf %wide : vector<2xf32> to vector<2xbf16>
              %result = llvm.bitcast %narrow : vector<2xbf16> to i32
              scf.yield %result : i32
            } else {
              scf.yield %two : i32
            }
            scf.yield %bits : i32
          }
          scf.yield %value : i32
        } else {
          scf.yield %none : i32
        }
        %final = scf.if %scaled -> i32 {
          %lowBits = arith.shli %word, %low16 : i32
          %highBits = arith.andi %word, %highMask : i32
          %low = arith.bitcast %lowBits : i32 to f32
          %high = arith.bitcast %highBits : i32 to f32
          %clamped = arith.select %inside, %k0, %c0 : i1, i64
          %halfPlace = arith.muli %half, %c4 : i64
          %p0 = arith.addi %clamped, %placeInSegment : i64
          %p1 = arith.addi %p0, %halfPlace : i64
          %gp = llvm.getelementptr %gain[%p1] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
          %gains = llvm.load %gp {alignment = 8 : i64} : !llvm.ptr<1> -> vector<2xf32>
          %values = vector.from_elements %low, %high : vector<2xf32>
          %product = arith.mulf %values, %gains : vector<2xf32>
          %rounded = arith.truncf %product : vector<2xf32> to vector<2xbf16>
          %bits = llvm.bitcast %rounded : vector<2xbf16> to i32
          scf.yield %bits : i32
        } else {
          scf.yield %word : i32
        }
        %to = llvm.getelementptr %out[%w] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i32
        llvm.store %final, %to : i32, !llvm.ptr<1>
      }
    }
  }
  return
}
func.func @mk_random(%to: !llvm.ptr<1>, %count: i64, %seed: i64, %scale: f32) attributes {mk.kernel = 256 : i32} {
  %s16 = arith.constant 16 : i32
  %s15 = arith.constant 15 : i32
  %a = arith.constant 0x7feb352d : i32
  %b = arith.constant -2073254261 : i32
  %unit = arith.constant 0x30000000 : f32
  %wideSeed = arith.trunci %seed : i64 to i32
  %first, %step = func.call @thread() : () -> (i64, i64)
  scf.for %i = %first to %count step %step : i64 {
    %low = arith.trunci %i : i64 to i32
    %c32 = arith.constant 32 : i64
    %high64 = arith.shrui %i, %c32 : i64
    %high = arith.trunci %high64 : i64 to i32
    %mixed = arith.muli %wideSeed, %a : i32
    %x0 = arith.xori %low, %mixed : i32
    %x1 = arith.addi %x0, %high : i32
    %h0 = arith.shrui %x1, %s16 : i32
    %x2 = arith.xori %x1, %h0 : i32
    %x3 = arith.muli %x2, %a : i32
    %h1 = arith.shrui %x3, %s15 : i32
    %x4 = arith.xori %x3, %h1 : i32
    %x5 = arith.muli %x4, %b : i32
    %h2 = arith.shrui %x5, %s16 : i32
    %x6 = arith.xori %x5, %h2 : i32
    %f = arith.sitofp %x6 : i32 to f32
    %one = arith.mulf %f, %unit : f32
    %value = arith.mulf %one, %scale : f32
    %narrow = arith.truncf %value : f32 to bf16
    %bits = arith.bitcast %narrow : bf16 to i16
    %p = llvm.getelementptr %to[%i] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i16
    llvm.store %bits, %p : i16, !llvm.ptr<1>
  }
  return
}
)mlir";

namespace {
struct AddPacker : mk::impl::AddPackerBase<AddPacker> {
  void runOnOperation() override {
    OwningOpRef<ModuleOp> kernels = parseSourceString<ModuleOp>(kKernels, &getContext());
    if (!kernels) {
      getOperation().emitError("the packing kernels do not parse");
      return signalPassFailure();
    }
    Block &to = *getOperation().getBody();
    to.getOperations().splice(to.end(), kernels->getBody()->getOperations());
  }
};
} // namespace
