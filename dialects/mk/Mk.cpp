// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The mk dialect: registration and the helpers of Mk.h. Types and attributes are in MkAttrs.cpp,
// the verifiers in MkOps.cpp and MkLinear.cpp.

#include "dialects/mk/Mk.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "dialects/mk/MkDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/mk/MkAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/mk/MkTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/mk/MkOps.cpp.inc"

namespace mlir::mk {

void MkDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/mk/MkAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/mk/MkTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/mk/MkOps.cpp.inc"
      >();
}

template <typename AttrType> static AttrType getModuleAttr(Operation *op, StringRef name) {
  auto module = dyn_cast<ModuleOp>(op);
  if (!module)
    module = op->getParentOfType<ModuleOp>();
  return module ? module->getAttrOfType<AttrType>(name) : AttrType();
}

TargetAttr getTarget(Operation *op) { return getModuleAttr<TargetAttr>(op, kTargetAttr); }

OptionsAttr getOptions(Operation *op) { return getModuleAttr<OptionsAttr>(op, kOptionsAttr); }

template <typename AttrType>
static AttrType requireModuleAttr(Operation *op, StringRef what, StringRef name) {
  AttrType attr = getModuleAttr<AttrType>(op, name);
  if (attr)
    return attr;
  InFlightDiagnostic error = op->emitOpError()
                             << "expected " << what << " in the module attribute " << name;
  if (auto other = getModuleAttr<Attribute>(op, name))
    error << ", found " << other;
  else
    error << ", found none";
  return {};
}

TargetAttr requireTarget(Operation *op) {
  return requireModuleAttr<TargetAttr>(op, "the machine", kTargetAttr);
}

OptionsAttr requireOptions(Operation *op) {
  return requireModuleAttr<OptionsAttr>(op, "the sizes of the program", kOptionsAttr);
}

int64_t getColumns(Type type) { return cast<RankedTensorType>(type).getShape().back(); }

int64_t getColumns(Value value) { return getColumns(value.getType()); }

// A fused op keeps the locations of all ops it is made of; the first of them names it.
static StringRef getName(Location loc) {
  if (auto name = dyn_cast<NameLoc>(loc)) {
    StringRef inner = getName(name.getChildLoc());
    return inner.empty() ? name.getName().getValue() : inner;
  }
  if (auto call = dyn_cast<CallSiteLoc>(loc)) {
    StringRef callee = getName(call.getCallee());
    return callee.empty() ? getName(call.getCaller()) : callee;
  }
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      if (StringRef name = getName(part); !name.empty())
        return name;
  return "";
}

std::string getModulePath(Operation *op) { return getName(op->getLoc()).str(); }

} // namespace mlir::mk
