// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The error for an operator without a conversion: where it is, why, and what its operands are.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

StringRef mk::describe(Kind kind) {
  switch (kind) {
  case Kind::Refused:
    return "not convertible";
  case Kind::Rows:
    return "activation rows";
  case Kind::Indices:
    return "an input of the step";
  case Kind::Vector:
    return "a vector of weights";
  case Kind::Matrix:
    return "a matrix of weights";
  case Kind::Positions:
    return "the positions";
  case Kind::Mean:
    return "a mean";
  case Kind::Centered:
    return "rows minus their mean";
  case Kind::Square:
    return "a square";
  case Kind::MeanSquare:
    return "a mean of squares";
  case Kind::InverseRms:
    return "an inverse root mean square";
  case Kind::Normalized:
    return "normalized rows without a gain";
  case Kind::Silu:
    return "a silu";
  case Kind::Angles:
    return "rotation angles";
  case Kind::Cosine:
    return "cosines of rotation angles";
  case Kind::Sine:
    return "sines of rotation angles";
  case Kind::Negated:
    return "negated rows";
  case Kind::RotatedHalves:
    return "swapped halves";
  case Kind::RotatedPairs:
    return "swapped neighbours";
  case Kind::PartRotated:
    return "a rotated part of heads";
  case Kind::TimesCosine:
    return "the cosine part of a rotation";
  case Kind::TimesSine:
    return "the sine part of a rotation";
  case Kind::RowGate:
    return "a sigmoid of one column";
  case Kind::Experts:
    return "a matrix of weights for each expert";
  case Kind::Probabilities:
    return "probabilities";
  case Kind::TopLogits:
    return "the largest logits of a row";
  case Kind::TopExperts:
    return "the chosen experts of a row";
  case Kind::RouteWeights:
    return "the weights of the chosen experts";
  case Kind::RouteSum:
    return "the sum of the weights of the chosen experts";
  case Kind::HalfTimesCosine:
    return "half of a head times cosines";
  case Kind::HalfTimesSine:
    return "half of a head times sines";
  case Kind::Flags:
    return "rows of booleans";
  case Kind::Whole:
    return "rows of whole numbers";
  case Kind::Table:
    return "numbers of the model";
  case Kind::Literal:
    return "numbers of the graph";
  case Kind::TurnedFirst:
  case Kind::TurnedSecond:
    return "half of a rotated head";
  }
  llvm_unreachable("every kind has a description");
}

StringRef mk::getTorchName(Operation *op) {
  StringRef name = op->getName().getStringRef();
  auto attr = op->getAttrOfType<StringAttr>("name");
  return name == "torch.operator" && attr ? attr.getValue() : name;
}

void mk::reportRefusal(const Conversion &conversion, Operation *op, StringRef reason) {
  InFlightDiagnostic error = emitError(op->getLoc()) << "'" << getTorchName(op) << "'";
  if (std::string path = getModulePath(op); !path.empty())
    error << " at " << path;
  error << ": no conversion to mk";
  if (!reason.empty())
    error << ": " << reason;
  StringRef separator = " (";
  auto describeOperand = [&](const Twine &name, Value value) {
    if (!parseTorchTensor(value.getType()))
      return;
    error << separator << name << " is " << describeTorchType(value.getType());
    if (Kind kind = conversion.get(value).kind; kind != Kind::Refused)
      error << ", " << describe(kind);
    separator = ", ";
  };
  for (auto [index, operand] : llvm::enumerate(op->getOperands())) {
    describeOperand("operand " + Twine(index), operand);
    std::optional<SmallVector<Value>> list = readList(operand);
    for (auto [position, element] : llvm::enumerate(list.value_or(SmallVector<Value>())))
      describeOperand("operand " + Twine(index) + "[" + Twine(position) + "]", element);
  }
  if (separator == ", ")
    error << ")";
}
