// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Access.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mk_task {

static int64_t getWidth(Type type) {
  if (auto cache = dyn_cast<mk::CacheType>(type))
    return 2 * cache.getHeads() * cache.getHeadDim();
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getRank() < 2 ? 1 : tensor.getDimSize(1);
}

/// Columns of heads of `headDim`, and with each its partner in the head's other half.
static ColumnSet withRopePartners(const ColumnSet &set, int64_t headDim, int64_t width) {
  ColumnSet result = set;
  int64_t half = headDim / 2;
  for (Columns c : set)
    for (int64_t head = c.begin / headDim * headDim; head < c.end; head += headDim) {
      for (Columns p : clip({c}, head, head + half, half))
        result.push_back(p);
      for (Columns p : clip({c}, head + half, head + headDim, -half))
        result.push_back(p);
    }
  return intersect(normalize(std::move(result)), {{0, width}});
}

/// Derives what a range of units of one kind touches. `available` goes forward from the
/// accumulators to the columns of a value that the units can compute; `demand` goes back from the
/// columns that they write to those that they read. An op without a rule reads its operands whole.
class KindAccesses {
public:
  KindAccesses(KindOp kind, ColumnSet unitColumns)
      : body(kind.getBody().front()), units(std::move(unitColumns)) {}

  void read(Value value, const ColumnSet &columns) { demand(value, columns); }
  void readWhole(Value value) { demand(value, whole(value)); }
  void write(unsigned result, ColumnSet columns) {
    ColumnSet &set = writes[body.getNumArguments() + result];
    set = unite(set, columns);
  }
  static ColumnSet whole(Value value) { return {{0, getWidth(value.getType())}}; }

  void tiles();
  void columns();
  void attend(int64_t begin, int64_t end, int64_t units);
  void serial();

  bool shares = false;
  std::map<unsigned, ColumnSet> reads, writes;

private:
  ColumnSet available(Value value);
  void demand(Value value, const ColumnSet &columns);

  Block &body;
  ColumnSet units;
  Value accumulators;
};

ColumnSet KindAccesses::available(Value value) {
  if (value == accumulators)
    return units;
  Operation *op = value.getDefiningOp();
  if (!op)
    return whole(value);
  return llvm::TypeSwitch<Operation *, ColumnSet>(op)
      .Case([&](mk::SliceOp slice) {
        int64_t offset = slice.getOffset();
        return clip(available(slice.getInput()), offset, offset + getWidth(value.getType()),
                    -offset);
      })
      .Case<mk::AddOp, mk::MulOp>([&](auto binary) {
        ColumnSet lhs = available(binary.getLhs());
        if (cast<RankedTensorType>(binary.getRhs().getType()).getRank() < 2)
          return lhs;
        return intersect(lhs, available(binary.getRhs()));
      })
      .Case([&](mk::GluOp glu) {
        return intersect(available(glu.getGate()), available(glu.getUp()));
      })
      .Case<mk::SiluOp, mk::RopeOp>([&](auto unary) { return available(unary.getInput()); })
      .Case([&](mk::ArgmaxPartialOp partial) {
        ColumnSet result;
        int64_t block = partial.getBlock(), width = getWidth(partial.getInput().getType());
        for (Columns c : available(partial.getInput()))
          for (int64_t b = (c.begin + block - 1) / block; b * block < c.end; ++b)
            if (std::min((b + 1) * block, width) <= c.end)
              result.push_back({2 * b, 2 * b + 2});
        return normalize(std::move(result));
      })
      .Case([&](mk::KvAppendOp append) {
        int64_t half = getWidth(value.getType()) / 2;
        return unite(available(append.getKeys()),
                     clip(available(append.getValues()), 0, half, half));
      })
      .Default([&](Operation *) { return whole(value); });
}

void KindAccesses::demand(Value value, const ColumnSet &columns) {
  if (value == accumulators || columns.empty())
    return;
  Operation *op = value.getDefiningOp();
  if (!op) {
    auto argument = cast<BlockArgument>(value);
    if (argument.getOwner() == &body) {
      ColumnSet &set = reads[argument.getArgNumber()];
      set = unite(set, columns);
    }
    return;
  }
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](mk::SliceOp slice) {
        demand(slice.getInput(), clip(columns, 0, getWidth(value.getType()), slice.getOffset()));
      })
      .Case<mk::AddOp, mk::MulOp>([&](auto binary) {
        demand(binary.getLhs(), columns);
        demand(binary.getRhs(), columns);
      })
      .Case([&](mk::GluOp glu) {
        demand(glu.getGate(), columns);
        demand(glu.getUp(), columns);
      })
      .Case([&](mk::SiluOp silu) { demand(silu.getInput(), columns); })
      .Case([&](mk::RopeOp rope) {
        int64_t width = getWidth(rope.getInput().getType());
        demand(rope.getInput(), withRopePartners(columns, rope.getHeadDim(), width));
        readWhole(rope.getPositions());
      })
      .Case([&](mk::ArgmaxPartialOp partial) {
        ColumnSet blocks;
        int64_t block = partial.getBlock(), width = getWidth(partial.getInput().getType());
        for (Columns c : columns)
          blocks.push_back({c.begin / 2 * block, std::min((c.end + 1) / 2 * block, width)});
        demand(partial.getInput(), normalize(std::move(blocks)));
      })
      .Case([&](mk::KvAppendOp append) { // stores without looking at what the cache holds
        int64_t half = getWidth(value.getType()) / 2;
        demand(append.getKeys(), clip(columns, 0, half, 0));
        demand(append.getValues(), clip(columns, half, 2 * half, -half));
        readWhole(append.getPositions());
        readWhole(append.getSlots());
      })
      .Default([&](Operation *) {
        for (Value operand : op->getOperands())
          readWhole(operand);
      });
}

void KindAccesses::tiles() {
  auto linears = body.getOps<mk::LinearOp>();
  if (linears.empty())
    return serial();
  mk::LinearOp linear = *linears.begin();
  readWhole(linear.getInput());
  for (Operation &op : linear.getPrologue().getOps())
    for (Value operand : op.getOperands())
      if (operand.getParentRegion() != &linear.getPrologue())
        readWhole(operand);

  Region &epilogue = linear.getEpilogue();
  if (!epilogue.empty())
    accumulators = epilogue.getArgument(0);
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    auto result = dyn_cast<OpResult>(yielded);
    if (!result || result.getOwner() != linear) {
      readWhole(yielded);
      write(i, whole(yielded));
    } else if (epilogue.empty()) {
      write(i, units);
    } else {
      Value value = epilogue.front().getTerminator()->getOperand(result.getResultNumber());
      ColumnSet columns = available(value);
      demand(value, columns);
      write(i, columns);
    }
  }
}

void KindAccesses::columns() {
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    int64_t width = getWidth(yielded.getType());
    ColumnSet columns = intersect(units, {{0, width}});
    if (isa<mk::CacheType>(yielded.getType())) // a unit stores keys and values of equal columns
      columns = unite(columns, clip(columns, 0, width / 2, width / 2));
    demand(yielded, columns);
    write(i, columns);
  }
}

void KindAccesses::attend(int64_t begin, int64_t end, int64_t units) {
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    readWhole(yielded);
    // A unit's items depend on the step's token count: only shares of the row can be told apart.
    shares = true;
    int64_t width = getWidth(yielded.getType());
    write(i, normalize({{width * begin / units, width * end / units}}));
  }
}

void KindAccesses::serial() {
  for (Operation &op : body)
    for (Value operand : op.getOperands())
      readWhole(operand);
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands()))
    write(i, whole(yielded));
}

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
  mk::TargetAttr target = mk::getTarget(program);
  mk::OptionsAttr options = mk::getOptions(program);
  if (!target || !options)
    return program.emitError("expected the module attributes '")
           << mk::kTargetAttr << "' and '" << mk::kOptionsAttr << "'";
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
      int64_t offset = *buffer.getOffset();
      analysis.objectOf[buffer.getSymName()] = analysis.objects.size();
      analysis.objects.push_back({MemoryObject::Activations, buffer.getSymName(), offset,
                                  offset + buffer.getBytes(options), getWidth(buffer.getType())});
    } else if (auto cache = dyn_cast<CacheOp>(op)) {
      int64_t layer = cache.getLayer();
      analysis.objectOf[cache.getSymName()] = analysis.objects.size();
      analysis.objects.push_back(
          {MemoryObject::Cache, cache.getSymName(), layer, layer + 1, getWidth(cache.getType())});
    }
  }
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
  bool advances = llvm::any_of(kind.getBody().getOps(), llvm::IsaPred<mk::AdvanceOp>);
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
      result.push_back({object->second, access.write, access.shares, access.columns});
    else
      same->columns = unite(same->columns, access.columns);
  }
  return result;
}

} // namespace mlir::mk_task
