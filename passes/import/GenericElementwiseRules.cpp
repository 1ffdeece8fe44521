// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Arithmetic, comparisons and choices of tensors that broadcast, as PyTorch defines them.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;

namespace {
/// An operand: a tensor, or a number of the graph.
struct Operand {
  Meaning meaning;
  Kind numbers = Kind::Rows; // Rows, Flags or Whole
  double bound = 0;          // Whole
};
} // namespace

static Meaning makeLiteral(double number, Kind numbers) {
  Meaning literal;
  literal.kind = Kind::Literal;
  literal.literal = {number};
  literal.numbers = numbers;
  literal.bound = std::abs(number);
  return literal;
}

static std::optional<Operand> readOperand(Conversion &conversion, Value value) {
  if (std::optional<TorchTensorType> type = parseTorchTensor(value.getType())) {
    std::optional<Kind> numbers = kindOfElements(type->elementType);
    std::optional<Meaning> meaning = realize(conversion, conversion.get(value), value.getLoc());
    if (!numbers || !meaning)
      return std::nullopt;
    return Operand{*meaning, *numbers, meaning->bound};
  }
  if (std::optional<bool> truth = readBool(value))
    return Operand{makeLiteral(*truth, Kind::Flags), Kind::Flags};
  if (std::optional<int64_t> integer = readInt(value))
    return Operand{makeLiteral(double(*integer), Kind::Whole), Kind::Whole,
                   std::abs(double(*integer))};
  if (std::optional<double> number = readNumber(value))
    return Operand{makeLiteral(*number, Kind::Rows), Kind::Rows};
  conversion.note("an operand is computed, and no tensor");
  return std::nullopt;
}

static std::optional<Kind> resultKind(Operation *op) {
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  return type ? kindOfElements(type->elementType) : std::nullopt;
}

using Function = Value (*)(Scalars &s, ArrayRef<Value> x);

/// A function of the first `count` operands. Integers are held as float32, so arithmetic on them
/// must not leave what that holds: `bound` is that of the result.
static std::optional<Meaning> mapOperands(Conversion &conversion, Operation *op, unsigned count,
                                          function_ref<Value(Scalars &, ArrayRef<Value>)> function,
                                          function_ref<double(ArrayRef<double>)> bound = nullptr) {
  SmallVector<Meaning, 4> meanings;
  SmallVector<double> bounds;
  std::optional<Kind> kind = resultKind(op);
  for (Value value : op->getOperands().take_front(count)) {
    std::optional<Operand> operand = readOperand(conversion, value);
    if (!operand)
      return std::nullopt;
    meanings.push_back(operand->meaning);
    bounds.push_back(operand->bound);
  }
  if (!kind)
    return std::nullopt;
  double most = *kind == Kind::Whole && bound ? bound(bounds) : 0;
  if (*kind == Kind::Whole && (!bound || most > kExactIntegers)) {
    conversion.note("arithmetic of integers that float32 may not hold exactly");
    return std::nullopt;
  }
  std::optional<Meaning> result = mapPoints(
      conversion, op->getLoc(), meanings,
      [&](Scalars &s, ArrayRef<Value> x) {
        Value number = function(s, x); // a sum of booleans is one too
        return *kind == Kind::Flags ? s.fromTruth(s.toTruth(number)) : number;
      },
      *kind);
  if (result)
    result->bound = most;
  return result;
}

template <unsigned count, Value (*function)(Scalars &, ArrayRef<Value>)>
static std::optional<Meaning> apply(Conversion &conversion, Operation *op) {
  return mapOperands(conversion, op, count, function);
}

static Value sum(Scalars &s, ArrayRef<Value> x) { return s.add(x[0], x[1]); }
static Value difference(Scalars &s, ArrayRef<Value> x) { return s.sub(x[0], x[1]); }
static Value product(Scalars &s, ArrayRef<Value> x) { return s.mul(x[0], x[1]); }
static Value quotient(Scalars &s, ArrayRef<Value> x) { return s.div(x[0], x[1]); }
static Value largest(Scalars &s, ArrayRef<Value> x) { return s.max(x[0], x[1]); }
static Value smallest(Scalars &s, ArrayRef<Value> x) { return s.min(x[0], x[1]); }
static double productBound(ArrayRef<double> bounds) { return bounds[0] * bounds[1]; }
static double largestBound(ArrayRef<double> bounds) { return std::max(bounds[0], bounds[1]); }

/// a + alpha b, a - alpha b, or the other way round
template <Function function, bool reversed = false>
static std::optional<Meaning> addScaled(Conversion &conversion, Operation *op) {
  std::optional<double> alpha = readNumber(op->getOperand(2));
  if (!alpha)
    return std::nullopt;
  return mapOperands(
      conversion, op, 2,
      [&](Scalars &s, ArrayRef<Value> x) {
        // What alpha scales is the second operand; of rsub(a, b) = b - alpha a it is the first.
        Value scaled = x[reversed ? 0 : 1], other = x[reversed ? 1 : 0];
        return function(s, {other, *alpha == 1 ? scaled : s.mul(scaled, s.c(*alpha))});
      },
      [&](ArrayRef<double> bounds) {
        return bounds[reversed ? 1 : 0] + std::abs(*alpha) * bounds[reversed ? 0 : 1];
      });
}

template <Function function, double (*bound)(ArrayRef<double>)>
static std::optional<Meaning> arithmetic(Conversion &conversion, Operation *op) {
  return mapOperands(conversion, op, 2, function, bound);
}

template <CmpFPredicate predicate> static Value compare(Scalars &s, ArrayRef<Value> x) {
  return s.fromTruth(s.compare(predicate, x[0], x[1]));
}
static Value both(Scalars &s, ArrayRef<Value> x) {
  return s.fromTruth(s.both(s.toTruth(x[0]), s.toTruth(x[1])));
}
static Value either(Scalars &s, ArrayRef<Value> x) {
  return s.fromTruth(s.either(s.toTruth(x[0]), s.toTruth(x[1])));
}
static Value oneOf(Scalars &s, ArrayRef<Value> x) {
  Value differ = s.b.create<arith::XOrIOp>(s.loc, s.toTruth(x[0]), s.toTruth(x[1]));
  return s.fromTruth(differ);
}
static Value negation(Scalars &s, ArrayRef<Value> x) {
  return s.select(s.toTruth(x[0]), s.c(0), s.c(1));
}

/// The operators & and | of integers work on their bits.
template <unsigned count, Function function>
static std::optional<Meaning> ofBooleans(Conversion &conversion, Operation *op) {
  if (resultKind(op) == Kind::Flags)
    return mapOperands(conversion, op, count, function);
  conversion.note("bits of integers");
  return std::nullopt;
}

/// torch.aten.where(condition, x, y)
static Value choose(Scalars &s, ArrayRef<Value> x) { return s.select(s.toTruth(x[0]), x[1], x[2]); }
/// torch.aten.masked_fill(x, mask, value)
static Value fill(Scalars &s, ArrayRef<Value> x) { return s.select(s.toTruth(x[1]), x[2], x[0]); }
template <Function function>
static std::optional<Meaning> choice(Conversion &conversion, Operation *op) {
  return mapOperands(conversion, op, 3, function,
                     [](ArrayRef<double> bounds) { return *llvm::max_element(bounds); });
}

static Value power(Scalars &s, ArrayRef<Value> x) {
  return s.b.create<math::PowFOp>(s.loc, x[0], x[1]);
}

/// x ** number, by products and roots where these are what PyTorch makes of it
static std::optional<Meaning> powerOfNumber(Conversion &conversion, Operation *op) {
  std::optional<double> exponent = readNumber(op->getOperand(1));
  if (!exponent)
    return std::nullopt;
  return mapOperands(conversion, op, 1, [&](Scalars &s, ArrayRef<Value> v) -> Value {
    Value x = v[0];
    double e = *exponent;
    if (e == 0.5)
      return s.make<math::SqrtOp>(x);
    if (e == -0.5)
      return s.make<math::RsqrtOp>(x);
    double size = std::abs(e);
    if (size > 8 || size != std::floor(size))
      return power(s, {x, s.c(e)});
    Value result = size == 0 ? s.c(1) : x;
    for (int i = 1; i < size; ++i)
      result = s.mul(result, x);
    return e < 0 ? s.div(s.c(1), result) : result;
  });
}

/// torch.aten.clamp(x, min, max), either of them perhaps none
static std::optional<Meaning> clamp(Conversion &conversion, Operation *op) {
  SmallVector<Meaning, 4> meanings;
  std::optional<Kind> kind = resultKind(op);
  double bound = 0;
  SmallVector<bool> given;
  for (Value value : op->getOperands().take_front(3)) {
    given.push_back(!isNone(value));
    if (!given.back())
      continue;
    std::optional<Operand> operand = readOperand(conversion, value);
    if (!operand)
      return std::nullopt;
    meanings.push_back(operand->meaning);
    bound = std::max(bound, operand->bound);
  }
  if (!kind)
    return std::nullopt;
  std::optional<Meaning> result = mapPoints(
      conversion, op->getLoc(), meanings,
      [&](Scalars &s, ArrayRef<Value> v) {
        Value x = v[0];
        if (given[1])
          x = s.max(x, v[1]);
        return given[2] ? s.min(x, v.back()) : x;
      },
      *kind);
  if (result)
    result->bound = bound;
  return result;
}

/// torch.aten.lerp(x, y, weight)
static Value interpolate(Scalars &s, ArrayRef<Value> x) {
  Value difference = s.sub(x[1], x[0]), size = s.make<math::AbsFOp>(x[2]);
  Value low = s.add(x[0], s.mul(x[2], difference));
  Value high = s.sub(x[1], s.mul(difference, s.sub(s.c(1), x[2])));
  return s.select(s.compare(CmpFPredicate::OLT, size, s.c(0.5)), low, high);
}

/// torch.aten.addcmul(x, a, b, value) and addcdiv
template <Function function>
static std::optional<Meaning> addCombined(Conversion &conversion, Operation *op) {
  std::optional<double> factor = readNumber(op->getOperand(3));
  if (!factor)
    return std::nullopt;
  return mapOperands(conversion, op, 3, [&](Scalars &s, ArrayRef<Value> x) {
    return s.add(x[0], s.mul(s.c(*factor), function(s, {x[1], x[2]})));
  });
}

/// A cast: floating-point types are one here, an integer may become a number, a number a boolean.
static std::optional<Meaning> castNumbers(Conversion &conversion, Operation *op) {
  std::optional<Operand> x = readOperand(conversion, op->getOperand(0));
  std::optional<Kind> kind = resultKind(op);
  if (!x || !kind)
    return std::nullopt;
  if (*kind == x->numbers)
    return x->meaning;
  if (*kind == Kind::Whole && x->numbers != Kind::Flags) {
    conversion.note("numbers that become integers");
    return std::nullopt;
  }
  std::optional<Meaning> result = mapPoints(
      conversion, op->getLoc(), x->meaning,
      [&](Scalars &s, ArrayRef<Value> v) {
        return *kind == Kind::Flags ? s.fromTruth(s.toTruth(v[0])) : v[0];
      },
      *kind);
  if (result)
    result->bound = 1;
  return result;
}

void mk::addGenericElementwiseRules(Rules &rules) {
  for (std::string suffix : {"Tensor", "Scalar"}) {
    rules.add("torch.aten.add." + suffix, 3, addScaled<sum>);
    rules.add("torch.aten.sub." + suffix, 3, addScaled<difference>);
    rules.add("torch.aten.rsub." + suffix, 3, addScaled<difference, true>);
    rules.add("torch.aten.mul." + suffix, 2, arithmetic<product, productBound>);
    rules.add("torch.aten.div." + suffix, 2, apply<2, quotient>);
    rules.add("torch.aten.eq." + suffix, 2, apply<2, compare<CmpFPredicate::OEQ>>);
    rules.add("torch.aten.ne." + suffix, 2, apply<2, compare<CmpFPredicate::UNE>>);
    rules.add("torch.aten.lt." + suffix, 2, apply<2, compare<CmpFPredicate::OLT>>);
    rules.add("torch.aten.le." + suffix, 2, apply<2, compare<CmpFPredicate::OLE>>);
    rules.add("torch.aten.gt." + suffix, 2, apply<2, compare<CmpFPredicate::OGT>>);
    rules.add("torch.aten.ge." + suffix, 2, apply<2, compare<CmpFPredicate::OGE>>);
    rules.add("torch.aten.masked_fill." + suffix, 3, choice<fill>);
    rules.add("torch.aten.lerp." + suffix, 3, apply<3, interpolate>);
  }
  for (StringRef name : {"self", "ScalarOther", "ScalarSelf", "Scalar"})
    rules.add(("torch.aten.where." + name).str(), 3, choice<choose>);
  rules.add("torch.aten.maximum", 2, arithmetic<largest, largestBound>);
  rules.add("torch.aten.minimum", 2, arithmetic<smallest, largestBound>);
  for (StringRef name : {"torch.aten.logical_and", "torch.aten.logical_and_"})
    rules.add(name, 2, apply<2, both>);
  rules.add("torch.aten.logical_or", 2, apply<2, either>);
  rules.add("torch.aten.logical_xor", 2, apply<2, oneOf>);
  rules.add("torch.aten.logical_not", 1, apply<1, negation>);
  for (StringRef name : {"torch.aten.bitwise_and.Tensor", "torch.aten.__and__.Tensor"})
    rules.add(name, 2, ofBooleans<2, both>);
  for (StringRef name : {"torch.aten.bitwise_or.Tensor", "torch.aten.__or__.Tensor"})
    rules.add(name, 2, ofBooleans<2, either>);
  rules.add("torch.aten.bitwise_xor.Tensor", 2, ofBooleans<2, oneOf>);
  rules.add("torch.aten.bitwise_not", 1, ofBooleans<1, negation>);
  rules.add("torch.aten.pow.Tensor_Scalar", 2, powerOfNumber);
  rules.add("torch.aten.pow.Tensor_Tensor", 2, apply<2, power>);
  rules.add("torch.aten.pow.Scalar", 2, apply<2, power>);
  rules.add("torch.aten.clamp", 3, clamp);
  rules.add("torch.aten.clamp.Tensor", 3, clamp);
  for (StringRef suffix : {"", ".Tensor"}) {
    rules.add(("torch.aten.clamp_min" + suffix).str(), 2, arithmetic<largest, largestBound>);
    rules.add(("torch.aten.clamp_max" + suffix).str(), 2, arithmetic<smallest, largestBound>);
  }
  rules.add("torch.aten.addcmul", 4, addCombined<product>);
  rules.add("torch.aten.addcdiv", 4, addCombined<quotient>);
  for (StringRef name :
       {"torch.aten.to.dtype", "torch.aten.to.dtype_layout", "torch.aten.to.device",
        "torch.aten.to.other", "torch.aten._to_copy", "torch.aten.type_as"})
    rules.add(name, 1, castNumbers);
}
