// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Access.h"
#include "passes/analysis/KindAccesses.h"

namespace mlir::mk_task {

/// The columns of units [begin, end), counted over the segments in order.
static ColumnSet getUnitColumns(KindOp kind, int64_t lanes, int64_t begin, int64_t end) {
  ColumnSet result;
  int64_t first = 0;
  if (auto segments = kind.getSegments())
    for (auto segment : segments->getAsRange<SegmentAttr>()) {
      int64_t count = segment.units(lanes);
      for (int64_t u = std::max(begin, first); u < std::min(end, first + count); ++u) {
        SegmentAttr::Groups groups = segment.groups(u - first, lanes);
        result.push_back({groups.a, groups.a + groups.validA});
        result.push_back({groups.b, groups.b + groups.validB});
      }
      first += count;
    }
  return normalize(std::move(result));
}

FailureOr<AccessAnalysis> AccessAnalysis::get(ProgramOp program) {
  mk::TargetAttr target = mk::requireTarget(program);
  mk::OptionsAttr options = mk::requireOptions(program);
  if (!target || !options)
    return failure();
  AccessAnalysis analysis;
  analysis.symbols = std::make_shared<SymbolTable>(program);
  analysis.lanes = target.getLanes();
  analysis.objects.push_back({MemoryObject::Request, "the request", 0, 1, 1});
  for (Operation &op : program.getBody().front()) {
    if (auto buffer = dyn_cast<BufferOp>(op)) {
      if (buffer.getRequest()) {
        analysis.objectOf[buffer.getSymName()] = 0;
        continue;
      }
      if (!buffer.getOffset())
        return buffer.emitError("buffer '") << buffer.getSymName() << "' has no offset yet";
      int64_t offset = *buffer.getOffset(), bytes = buffer.getBytes(options);
      auto space = MemoryObject::Activations;
      if (buffer.getRecord()) { // steps do not share records, but nothing is concluded from that
        space = buffer.getInput() ? MemoryObject::Inputs : MemoryObject::Results;
        bytes = buffer.getRowBytes();
      }
      analysis.objectOf[buffer.getSymName()] = analysis.objects.size();
      analysis.objects.push_back({space, buffer.getSymName(), offset, offset + bytes,
                                  getWidth(buffer.getType()), buffer.getFlagged()});
    } else if (auto cache = dyn_cast<CacheOp>(op)) {
      int64_t layer = cache.getLayer();
      analysis.objectOf[cache.getSymName()] = analysis.objects.size();
      analysis.objects.push_back(
          {MemoryObject::Cache, cache.getSymName(), layer, layer + 1, getWidth(cache.getType())});
    }
  }
  // A cache is forwarded if all attention over it is given the rows of the step.
  DenseMap<unsigned, bool> forwarded;
  for (auto family : program.getBody().getOps<FamilyOp>())
    if (auto attend = dyn_cast<mk::AttendOp>(analysis.getKind(family).getAnchor()))
      for (Attribute name : family.getOperands())
        if (auto cache =
                dyn_cast<CacheOp>(analysis.lookup(cast<FlatSymbolRefAttr>(name).getValue()))) {
          unsigned object = analysis.objectOf[cache.getSymName()];
          bool &all = forwarded.try_emplace(object, true).first->second;
          all = all && !attend.getNewRows().empty();
        }
  for (auto [object, all] : forwarded)
    analysis.objects[object].forwarded = all;
  return analysis;
}

SmallVector<Access> AccessAnalysis::getAccesses(FamilyOp family, int64_t begin, int64_t end) {
  KindOp kind = getKind(family);
  auto [it, inserted] = cache.try_emplace({kind, begin, end});
  SmallVector<KindAccess> &kindAccesses = it->second;
  if (inserted) {
    KindAccesses derived(kind, getUnitColumns(kind, lanes, begin, end));
    switch (kind.getKindClass()) {
    case KindClass::tiles:
      derived.tiles();
      break;
    case KindClass::experts:
      derived.experts();
      break;
    case KindClass::columns:
      derived.columns();
      break;
    case KindClass::attend:
      derived.attend(begin, end, std::max<int64_t>(kind.getUnits().value_or(1), 1));
      break;
    case KindClass::serial:
      derived.serial();
      break;
    }
    for (auto &[index, columns] : derived.reads)
      kindAccesses.push_back({index, false, false, columns});
    for (auto &[index, columns] : derived.writes)
      kindAccesses.push_back({index, true, derived.shares, columns});
  }

  // Every task looks at the request's token or row count; advance writes the next request.
  bool advances = endsStep(kind);
  SmallVector<Access> result = {{0, advances, false, {{0, 1}}}};
  unsigned arguments = family.getOperands().size();
  for (const KindAccess &access : kindAccesses) {
    Attribute symbol = access.index < arguments ? family.getOperands()[access.index]
                                                : family.getOutputs()[access.index - arguments];
    auto object = objectOf.find(cast<FlatSymbolRefAttr>(symbol).getValue());
    if (object == objectOf.end())
      continue; // a weight
    if (object->second == 0) {
      result.front().write |= access.write;
      continue;
    }
    auto same = llvm::find_if(result, [&](const Access &other) {
      return other.object == object->second && other.write == access.write;
    });
    if (same == result.end())
      result.push_back({object->second, access.write, access.shares, access.columns,
                        !access.write && objects[object->second].forwarded});
    else
      same->columns = unite(same->columns, access.columns);
  }
  if (ArrayAttr conditions = family.getConditionsAttr())
    for (auto condition : conditions.getAsRange<ConditionAttr>()) {
      unsigned object = objectOf.lookup(condition.getBuffer().getValue());
      auto same = llvm::find_if(
          result, [&](const Access &other) { return other.object == object && !other.write; });
      // The word of a flagged one is looked at before all waits.
      bool early = objects[object].flagged;
      if (same == result.end())
        result.push_back({object, /*write=*/false, /*shares=*/false, {{0, 1}}, early});
      else
        same->early |= early;
    }
  return result;
}

} // namespace mlir::mk_task
