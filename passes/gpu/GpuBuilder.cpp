// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/GpuBuilder.h"

#include "dialects/mk_cta/MkCta.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;

Value GpuBuilder::thread() { return toIndex(create<NVVM::ThreadIdXOp>(getI32Type())); }

Value GpuBuilder::view(Value context, StringRef arena, Value offset, ArrayRef<int64_t> shape,
                       ArrayRef<int64_t> strides, Type element) {
  auto layout = StridedLayoutAttr::get(getContext(), 0, strides);
  auto type = MemRefType::get(shape, element, layout, getI64IntegerAttr(kGlobal));
  return create<mk_cta::ViewOp>(type, context, arena, offset);
}

Value GpuBuilder::shared(int64_t offset, ArrayRef<int64_t> shape, Type element) {
  auto type =
      MemRefType::get(shape, element, MemRefLayoutAttrInterface(), getI64IntegerAttr(kShared));
  return create<mk_cta::SharedOp>(type, offset);
}

Value GpuBuilder::toI32(Value index) {
  if (auto cast = index.getDefiningOp<arith::IndexCastOp>();
      cast && cast.getIn().getType().isInteger(32))
    return cast.getIn();
  return createOrFold<arith::IndexCastOp>(getI32Type(), index);
}

SmallVector<Value> GpuBuilder::loop(Value from, Value to, Value step, ValueRange init,
                                    LoopBody body) {
  return CodeBuilder::loop(
      toI32(from), toI32(to), toI32(step), init,
      [&](Value iv, ValueRange carried) { return body(toIndex(iv), carried); });
}

void GpuBuilder::loop(Value from, Value to, Value step, function_ref<void(Value iv)> body) {
  CodeBuilder::loop(toI32(from), toI32(to), toI32(step), [&](Value iv) { body(toIndex(iv)); });
}

std::pair<Value, Value> GpuBuilder::divide32(Value a, Value b) {
  Value x = toI32(a), y = toI32(b);
  Value quotient = create<arith::DivUIOp>(x, y);
  Value rest = create<arith::SubIOp>(x, create<arith::MulIOp>(quotient, y));
  return {toIndex(quotient), toIndex(rest)};
}

void GpuBuilder::barrier() { create<NVVM::BarrierOp>(integer(1), integer(kConsumers)); }

void GpuBuilder::syncWarp() { create<NVVM::SyncWarpOp>(integer(-1)); }

Value GpuBuilder::shuffleXor(Value value, int64_t mask) {
  return create<NVVM::ShflOp>(value.getType(), integer(-1), value, integer(mask), integer(31),
                              NVVM::ShflKind::bfly, UnitAttr());
}

Value GpuBuilder::reduceLanes(Value value, int64_t lanes, function_ref<Value(Value, Value)> join,
                              int64_t from) {
  for (int64_t mask = from; mask < lanes; mask *= 2)
    value = join(value, shuffleXor(value, mask));
  return value;
}

Value GpuBuilder::pack(ValueRange elements) {
  auto type = VectorType::get({int64_t(elements.size())}, elements[0].getType());
  return create<vector::FromElementsOp>(type, elements);
}

Value GpuBuilder::packPair(Value low, Value high) {
  auto pair =
      create<LLVM::CallIntrinsicOp>(VectorType::get({2}, getBF16Type()),
                                    getStringAttr("llvm.nvvm.ff2bf16x2.rn"), ValueRange{high, low});
  Value word = create<vector::BitCastOp>(VectorType::get({1}, getI32Type()), pair.getResult(0));
  return element(word, 0);
}

std::array<Value, 2> GpuBuilder::halves(Value word) {
  Value low = create<arith::ShLIOp>(word, integer(16));
  Value high = create<arith::AndIOp>(word, integer(-65536));
  return {create<arith::BitcastOp>(getF32Type(), low),
          create<arith::BitcastOp>(getF32Type(), high)};
}

SmallVector<Value> GpuBuilder::choose(TypeRange types, Value condition,
                                      function_ref<SmallVector<Value>()> then,
                                      function_ref<SmallVector<Value>()> otherwise) {
  if (types.empty()) {
    when(condition, [&] { then(); }, [&] { otherwise(); });
    return {};
  }
  auto ifOp = create<scf::IfOp>(types, condition, /*withElseRegion=*/true);
  InsertionGuard guard(*this);
  for (auto [region, write] :
       {std::pair(&ifOp.getThenRegion(), then), std::pair(&ifOp.getElseRegion(), otherwise)}) {
    setInsertionPointToStart(&region->front());
    create<scf::YieldOp>(write());
  }
  return SmallVector<Value>(ifOp.getResults());
}

Value GpuBuilder::fastExp(Value x) {
  return special("llvm.nvvm.ex2.approx.f", fmul(x, constant(getF32Type(), 1.44269504088896341)));
}

Value GpuBuilder::silu(Value x) {
  Value grown = fadd(constant(getF32Type(), 1.0), fastExp(create<arith::NegFOp>(x)));
  return fmul(x, inverse(grown));
}

Value GpuBuilder::special(StringRef intrinsic, Value x) {
  return create<LLVM::CallIntrinsicOp>(getF32Type(), getStringAttr(intrinsic), ValueRange{x})
      .getResult(0);
}

RingPlace GpuBuilder::advance(RingPlace place, Value count, int64_t stages) {
  Value slot = addI32(place.slot, count);
  Value wraps = compare(arith::CmpIPredicate::sge, slot, integer(stages));
  Value flipped = create<arith::XOrIOp>(place.parity, integer(1));
  Value wrapped = addI32(slot, integer(-stages));
  return {select(wraps, wrapped, slot), select(wraps, flipped, place.parity),
          addI32(place.used, count)};
}
