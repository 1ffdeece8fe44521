// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a trace of the ring knows of an operation's result: a number, or nothing.
#include "passes/gpu/RingTrace.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;

/// As the hardware has it, for types of up to 32 bits.
static int64_t wrapped(int64_t value, Type type) {
  return type.isInteger(1) ? value & 1 : type.isInteger(32) ? int64_t(int32_t(value)) : value;
}

static uint64_t unsignedOf(int64_t value, Type type) {
  return type.isInteger(32) ? uint64_t(uint32_t(value)) : uint64_t(value);
}

static MaybeNumber sum(MaybeNumber a, MaybeNumber b, int64_t sign, Type type) {
  if (!a || !b || (!a->isConstant() && !b->isConstant() && a->instruction != b->instruction))
    return std::nullopt;
  Number result{a->constant + sign * b->constant, a->begins + sign * b->begins,
                a->streams + sign * b->streams, a->isConstant() ? b->instruction : a->instruction};
  if (result.isConstant())
    result = {wrapped(result.constant, type)};
  return result;
}

static MaybeNumber product(MaybeNumber a, MaybeNumber b, Type type) {
  if (!a || !b || (!a->isConstant() && !b->isConstant()))
    return std::nullopt;
  if (!b->isConstant())
    std::swap(a, b);
  int64_t factor = b->constant;
  Number result{a->constant * factor, a->begins * factor, a->streams * factor, a->instruction};
  if (result.isConstant())
    result = {wrapped(result.constant, type)};
  return result;
}

static std::optional<int64_t> compare(arith::CmpIPredicate predicate, int64_t a, int64_t b,
                                      Type type) {
  uint64_t x = unsignedOf(a, type), y = unsignedOf(b, type);
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return a == b;
  case arith::CmpIPredicate::ne:
    return a != b;
  case arith::CmpIPredicate::slt:
    return a < b;
  case arith::CmpIPredicate::sle:
    return a <= b;
  case arith::CmpIPredicate::sgt:
    return a > b;
  case arith::CmpIPredicate::sge:
    return a >= b;
  case arith::CmpIPredicate::ult:
    return x < y;
  case arith::CmpIPredicate::ule:
    return x <= y;
  case arith::CmpIPredicate::ugt:
    return x > y;
  case arith::CmpIPredicate::uge:
    return x >= y;
  }
  return std::nullopt;
}

MaybeNumber RingTrace::evaluate(Operation *op) {
  Type type = op->getResult(0).getType();
  auto operand = [&](unsigned i) { return get(op->getOperand(i)); };
  auto constant = [&](std::optional<int64_t> value) -> MaybeNumber {
    return value ? MaybeNumber(Number{wrapped(*value, type)}) : std::nullopt;
  };
  auto both = [&](function_ref<std::optional<int64_t>(int64_t, int64_t)> f) -> MaybeNumber {
    std::optional<int64_t> a = constantOf(operand(0)), b = constantOf(operand(1));
    return a && b ? constant(f(*a, *b)) : std::nullopt;
  };
  auto divided = [&](bool rest) {
    return both([&](int64_t a, int64_t b) -> std::optional<int64_t> {
      uint64_t x = unsignedOf(a, type), y = unsignedOf(b, type);
      if (!y)
        return std::nullopt;
      return rest ? x % y : x / y;
    });
  };
  return llvm::TypeSwitch<Operation *, MaybeNumber>(op)
      .Case([&](arith::ConstantOp value) -> MaybeNumber {
        auto integer = dyn_cast<IntegerAttr>(value.getValue());
        if (!integer)
          return std::nullopt;
        return constant(type.isInteger(1) ? int64_t(integer.getValue().getZExtValue())
                                          : integer.getInt());
      })
      .Case<arith::IndexCastOp, arith::ExtSIOp, arith::ExtUIOp, arith::TruncIOp>([&](Operation *) {
        MaybeNumber from = operand(0);
        return from && from->isConstant() ? constant(from->constant) : from;
      })
      .Case([&](arith::AddIOp) { return sum(operand(0), operand(1), 1, type); })
      .Case([&](arith::SubIOp) { return sum(operand(0), operand(1), -1, type); })
      .Case([&](arith::MulIOp) { return product(operand(0), operand(1), type); })
      .Case([&](arith::DivUIOp) { return divided(false); })
      .Case([&](arith::RemUIOp) { return divided(true); })
      .Case([&](arith::AndIOp) -> MaybeNumber {
        for (unsigned i : {0, 1})
          if (constantOf(operand(i)) == 0)
            return Number{0};
        return both([](int64_t a, int64_t b) { return a & b; });
      })
      .Case([&](arith::OrIOp) { return both([](int64_t a, int64_t b) { return a | b; }); })
      .Case([&](arith::XOrIOp) { return both([](int64_t a, int64_t b) { return a ^ b; }); })
      .Case(
          [&](arith::MinSIOp) { return both([](int64_t a, int64_t b) { return std::min(a, b); }); })
      .Case(
          [&](arith::MaxSIOp) { return both([](int64_t a, int64_t b) { return std::max(a, b); }); })
      .Case([&](arith::CmpIOp cmp) -> MaybeNumber {
        // Of the same symbols only the constants differ.
        MaybeNumber difference = sum(operand(0), operand(1), -1, IndexType::get(op->getContext()));
        if (difference && difference->isConstant() && !operand(0)->isConstant())
          return constant(compare(cmp.getPredicate(), operand(0)->constant, operand(1)->constant,
                                  IndexType::get(op->getContext())));
        Type compared = cmp.getLhs().getType();
        return both(
            [&](int64_t a, int64_t b) { return compare(cmp.getPredicate(), a, b, compared); });
      })
      .Case([&](arith::SelectOp select) -> MaybeNumber {
        if (std::optional<int64_t> which = constantOf(operand(0)))
          return operand(*which ? 1 : 2);
        return join(operand(1), operand(2));
      })
      .Case<mk_cta::RingAwaitOp, mk_cta::AwaitToldOp, mk_cta::PollOp>(
          [&](Operation *) { return constant(1); }) // nothing stalls
      .Case([&](mk_cta::AwaitPredicateOp await) -> MaybeNumber {
        std::optional<int64_t> place = constantOf(get(await.getPlace()));
        auto found = place ? inputs.predicates.find(*place) : inputs.predicates.end();
        return found == inputs.predicates.end() ? MaybeNumber() : Number{found->second};
      })
      .Case<mk_cta::ThreadOp, NVVM::ThreadIdXOp>([&](Operation *) {
        asksForThread |= !kind.empty();
        return constant(thread);
      })
      .Case([&](NVVM::BlockIdXOp) { return constant(0); })
      .Case([&](mk_cta::StepOp) { return constant(0); })
      .Case([&](mk_cta::InstructionOp instruction) { return get(instruction.getNumber()); })
      .Case([&](mk_cta::FieldOp one) { return field(one); })
      .Case([&](memref::LoadOp one) { return load(one); })
      .Default([](Operation *) { return std::nullopt; });
}

MaybeNumber RingTrace::field(mk_cta::FieldOp op) {
  std::optional<int64_t> number = constantOf(get(op.getInstruction()));
  if (!number || *number < 0)
    return std::nullopt;
  if (*number >= int64_t(inputs.instructions.size()))
    return Number{op.getName() == "kind" ? mk_task::kEndOfList : 0};
  const RingInputs::Row &row = inputs.instructions[*number];
  int64_t word = row.words[mk_cta::instructionField(op.getName()) + int64_t(op.getIndex())];
  if (row.anywhere && op.getName() == "begin")
    return Number{0, 1, 0, *number};
  if (row.anywhere && op.getName() == "end")
    return Number{word - row.words[mk_task::field_begin], 1, 0, *number};
  if (row.anywhere && op.getName() == "stream")
    return Number{0, 0, 1, *number};
  return Number{word};
}

MaybeNumber RingTrace::load(memref::LoadOp op) {
  auto view = op.getMemRef().getDefiningOp<mk_cta::ViewOp>();
  if (view && view.getArena() == "request") {
    std::optional<int64_t> offset = constantOf(get(view.getOffset()));
    for (const mk_task::RequestArray &array : mk_task::requestArrays(getOptions(program)))
      if (offset == array.offset) {
        if (array.name == "running") // asked once before a step
          return Number{begun++ < inputs.steps};
        auto found = inputs.request.find(array.name);
        return found == inputs.request.end() ? MaybeNumber() : Number{found->second};
      }
    return std::nullopt;
  }
  auto shared = op.getMemRef().getDefiningOp<mk_cta::SharedOp>();
  if (!shared)
    return std::nullopt;
  auto type = cast<MemRefType>(shared.getType());
  int64_t place = 0;
  for (auto [index, size] : llvm::zip_equal(op.getIndices(), type.getShape())) {
    std::optional<int64_t> at = constantOf(get(index));
    if (!at)
      return std::nullopt;
    place = place * size + *at;
  }
  auto found = inputs.sharedWords.find(int64_t(shared.getOffset()) + 4 * place);
  return found == inputs.sharedWords.end() ? MaybeNumber() : Number{found->second};
}
