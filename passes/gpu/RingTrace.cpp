// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/RingTrace.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;

RingTrace::RingTrace(RingSlice &slice, mk_task::ProgramOp program, const RingInputs &inputs,
                     int64_t thread)
    : slice(slice), program(program), inputs(inputs), thread(thread) {}

LogicalResult RingTrace::run(func::FuncOp main) { return runBlock(main.getBody().front()); }

LogicalResult RingTrace::refuse(Operation *op, const Twine &why) {
  InFlightDiagnostic error = op->emitOpError() << why;
  if (!kind.empty())
    error << " (in kind '" << kind << "')";
  return error;
}

SmallVector<MaybeNumber> RingTrace::getAll(ValueRange range) {
  return llvm::map_to_vector(range, [&](Value value) { return get(value); });
}

void RingTrace::setAll(ValueRange range, ArrayRef<MaybeNumber> numbers) {
  for (auto [value, number] : llvm::zip_equal(range, numbers))
    set(value, number);
}

static MaybeNumber join(MaybeNumber a, MaybeNumber b) { return a == b ? a : std::nullopt; }

static std::optional<int64_t> constantOf(MaybeNumber number) {
  if (number && number->isConstant())
    return number->constant;
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

LogicalResult RingTrace::runBlock(Block &block) {
  for (Operation *op : slice.of(&block)) {
    if (--budget < 0)
      return refuse(op, "is in a loop that does not end");
    if (failed(runOp(op)))
      return failure();
  }
  return success();
}

LogicalResult RingTrace::runOp(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](scf::IfOp ifOp) { return runIf(ifOp); })
      .Case([&](scf::IndexSwitchOp choose) { return runSwitch(choose); })
      .Case([&](scf::ForOp loop) { return runFor(loop); })
      .Case([&](scf::WhileOp loop) { return runWhile(loop); })
      .Case([&](func::CallOp call) { return runCall(call); })
      .Default([&](Operation *) {
        if (usesRing(op) && failed(runRing(op)))
          return failure();
        if (op->getNumResults() && !op->hasTrait<OpTrait::IsTerminator>())
          set(op->getResult(0), evaluate(op));
        return success();
      });
}

/// Runs all of them, as nobody knows which it is.
LogicalResult RingTrace::oneOf(Operation *op, ArrayRef<Region *> regions) {
  if (slice.hasUses(op))
    return refuse(op, "decides on a use of the ring by what is not a number");
  std::optional<SmallVector<MaybeNumber>> results;
  for (Region *region : regions) {
    if (region->empty())
      continue;
    if (failed(runBlock(region->front())))
      return failure();
    SmallVector<MaybeNumber> found = getAll(region->front().getTerminator()->getOperands());
    if (results)
      for (auto [a, b] : llvm::zip_equal(*results, found))
        a = join(a, b);
    else
      results = found;
  }
  if (op->getNumResults())
    setAll(op->getResults(), *results);
  return success();
}

LogicalResult RingTrace::runIf(scf::IfOp op) {
  std::optional<int64_t> condition = constantOf(get(op.getCondition()));
  if (!condition)
    return oneOf(op, {&op.getThenRegion(), &op.getElseRegion()});
  Region &taken = *condition ? op.getThenRegion() : op.getElseRegion();
  if (taken.empty())
    return success();
  if (failed(runBlock(taken.front())))
    return failure();
  setAll(op.getResults(), getAll(taken.front().getTerminator()->getOperands()));
  return success();
}

LogicalResult RingTrace::runSwitch(scf::IndexSwitchOp op) {
  std::optional<int64_t> argument = constantOf(get(op.getArg()));
  if (!argument) {
    SmallVector<Region *> all = {&op.getDefaultRegion()};
    for (Region &region : op.getCaseRegions())
      all.push_back(&region);
    return oneOf(op, all);
  }
  const auto *found = llvm::find(op.getCases(), *argument);
  Region &taken = found == op.getCases().end() ? op.getDefaultRegion()
                                               : op.getCaseRegions()[found - op.getCases().begin()];
  if (failed(runBlock(taken.front())))
    return failure();
  setAll(op.getResults(), getAll(taken.front().getTerminator()->getOperands()));
  return success();
}

LogicalResult RingTrace::runFor(scf::ForOp op) {
  MaybeNumber from = get(op.getLowerBound()), to = get(op.getUpperBound());
  std::optional<int64_t> step = constantOf(get(op.getStep()));
  bool known = from && to && step && *step > 0 && from->begins == to->begins &&
               from->streams == to->streams && from->instruction == to->instruction;
  SmallVector<MaybeNumber> state = getAll(op.getInitArgs());
  Block &body = *op.getBody();
  auto iterate = [&](MaybeNumber iv) -> LogicalResult {
    set(op.getInductionVar(), iv);
    setAll(op.getRegionIterArgs(), state);
    return runBlock(body);
  };
  if (known) {
    for (Number iv = *from; iv.constant < to->constant; iv.constant += *step) {
      if (failed(iterate(iv)))
        return failure();
      state = getAll(body.getTerminator()->getOperands());
    }
  } else {
    if (slice.hasUses(op))
      return refuse(op, "repeats uses of the ring by what is not a number");
    for (bool changed = true; changed;) {
      if (failed(iterate(std::nullopt)))
        return failure();
      changed = false;
      for (auto [now, next] : llvm::zip_equal(state, getAll(body.getTerminator()->getOperands()))) {
        MaybeNumber joined = join(now, next);
        changed |= joined != now;
        now = joined;
      }
    }
  }
  setAll(op.getResults(), state);
  return success();
}

LogicalResult RingTrace::runWhile(scf::WhileOp op) {
  SmallVector<MaybeNumber> state = getAll(op.getInits());
  scf::ConditionOp condition = op.getConditionOp();
  for (;;) {
    setAll(op.getBeforeArguments(), state);
    if (failed(runBlock(*op.getBeforeBody())))
      return failure();
    SmallVector<MaybeNumber> passed = getAll(condition.getArgs());
    std::optional<int64_t> more = constantOf(get(condition.getCondition()));
    if (more && !*more) {
      setAll(op.getResults(), passed);
      return success();
    }
    if (!more && slice.hasUses(op))
      return refuse(op, "repeats uses of the ring by what is not a number");
    setAll(op.getAfterArguments(), passed);
    if (failed(runBlock(*op.getAfterBody())))
      return failure();
    SmallVector<MaybeNumber> next = getAll(op.getYieldOp()->getOperands());
    if (more) {
      state = next;
      continue;
    }
    bool changed = false;
    for (auto [now, then] : llvm::zip_equal(state, next)) {
      MaybeNumber joined = join(now, then);
      changed |= joined != now;
      now = joined;
    }
    if (!changed) {
      setAll(op.getResults(), passed);
      return success();
    }
  }
}

LogicalResult RingTrace::runCall(func::CallOp op) {
  func::FuncOp function = slice.callee(op);
  if (!function || function.isExternal())
    return success(); // nothing is known of its results
  StringRef before = std::exchange(kind, function.getName());
  Block &body = function.getBody().front();
  setAll(body.getArguments(), getAll(op.getOperands()));
  if (failed(runBlock(body)))
    return failure();
  setAll(op.getResults(), getAll(body.getTerminator()->getOperands()));
  kind = before;
  return success();
}

//===----------------------------------------------------------------------===//
// Uses
//===----------------------------------------------------------------------===//

LogicalResult RingTrace::runRing(Operation *op) {
  auto begin = [&](Value slot, MaybeNumber waitedFor, MaybeNumber parity) -> RingUse & {
    RingUse use;
    use.op = op;
    use.kind = kind;
    use.holds = std::exchange(holds, {});
    use.slot = get(slot);
    if (use.slot != waitedFor)
      use.slot = std::nullopt; // it was not free
    use.parity = parity;
    use.copied = std::exchange(copied, 0);
    emptySlot = emptyParity = std::nullopt;
    return uses.emplace_back(use);
  };
  if (auto what = dyn_cast<mk_cta::RingHoldsOp>(op)) {
    holds = getAll(what.getWhat());
  } else if (auto await = dyn_cast<mk_cta::RingAwaitOp>(op)) {
    if (await.getWhat() == mk_cta::RingWait::full) {
      begin(await.getSlot(), get(await.getSlot()), get(await.getParity()));
    } else {
      emptySlot = get(await.getSlot());
      emptyParity = get(await.getParity());
    }
  } else if (auto fill = dyn_cast<mk_cta::RingFillOp>(op)) {
    RingUse &use = begin(fill.getSlot(), emptySlot, emptyParity);
    use.bytes = get(fill.getBytes());
    use.whole = true;
  } else if (auto copy = dyn_cast<mk_cta::RingCopyOp>(op)) {
    std::optional<int64_t> bytes = constantOf(get(copy.getBytes()));
    if (!bytes || get(copy.getSlot()) != emptySlot)
      return refuse(op, "copies what is no number of bytes, or to a slot that was not waited for");
    copied += *bytes;
  } else if (auto announce = dyn_cast<mk_cta::RingAnnounceOp>(op)) {
    begin(announce.getSlot(), emptySlot, emptyParity).bytes = get(announce.getBytes());
  } else if (auto release = dyn_cast<mk_cta::RingReleaseOp>(op)) {
    MaybeNumber exists = release.getExists() ? get(release.getExists()) : Number{1};
    if (!constantOf(exists))
      return refuse(op, "decides on a use of the ring by what is not a number");
    if (*exists == Number{0})
      return success();
    MaybeNumber slot = get(release.getSlot());
    auto last = llvm::find_if(llvm::reverse(uses),
                              [&](const RingUse &use) { return slot && use.slot == slot; });
    if (last == uses.rend())
      return refuse(op, "gives back a slot that was not waited for");
    ++last->released;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

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
