// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"
#include <map>
#include <set>

namespace mlir::mk {
#define GEN_PASS_DEF_PLANMEMORY
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {

/// A buffer's bytes, and the families (by their place in program order) from the one that writes it
/// first to the one that reads it last.
struct Lifetime {
  BufferOp buffer;
  int64_t first, last, bytes, offset = 0;
};

struct MemoryPlan {
  SmallVector<Lifetime> lifetimes; // ascending by `first`
  SmallVector<Lifetime> flagged;   // behind all others
  int64_t total = 0, copy = 0;     // bytes of all, and of one copy of the flagged ones

  /// No two buffers that are alive together share bytes.
  LogicalResult verify() const;
  void dump(raw_ostream &os) const;
};

/// The free bytes below `end`, by place and by size: the smallest gap that fits is taken, else the
/// arena grows.
class FreeList {
public:
  int64_t take(int64_t bytes) {
    auto gap = bySize.lower_bound({bytes, 0});
    if (gap == bySize.end())
      return std::exchange(end, end + bytes);
    auto [size, offset] = *gap;
    remove(offset, size);
    if (size > bytes)
      insert(offset + bytes, size - bytes);
    return offset;
  }

  void give(int64_t offset, int64_t bytes) {
    auto next = byOffset.lower_bound(offset);
    if (next != byOffset.begin())
      if (auto [before, size] = *std::prev(next); before + size == offset) {
        remove(before, size);
        offset = before;
        bytes += size;
      }
    if (next != byOffset.end() && offset + bytes == next->first) {
      int64_t size = next->second;
      remove(next->first, size);
      bytes += size;
    }
    insert(offset, bytes);
  }

  int64_t getEnd() const { return end; }

private:
  void insert(int64_t offset, int64_t size) {
    byOffset[offset] = size;
    bySize.insert({size, offset});
  }
  void remove(int64_t offset, int64_t size) {
    byOffset.erase(offset);
    bySize.erase({size, offset});
  }

  std::map<int64_t, int64_t> byOffset;
  std::set<std::pair<int64_t, int64_t>> bySize;
  int64_t end = 0;
};

} // namespace

LogicalResult MemoryPlan::verify() const {
  std::map<int64_t, const Lifetime *> alive; // by offset
  std::multimap<int64_t, const Lifetime *> ends;
  for (const Lifetime &lifetime : lifetimes) {
    for (auto it = ends.begin(); it != ends.end() && it->first < lifetime.first;
         it = ends.erase(it))
      alive.erase(it->second->offset);
    auto above = alive.lower_bound(lifetime.offset);
    const Lifetime *clash = nullptr;
    if (above != alive.end() && above->first < lifetime.offset + lifetime.bytes)
      clash = above->second;
    if (above != alive.begin())
      if (const Lifetime *below = std::prev(above)->second;
          below->offset + below->bytes > lifetime.offset)
        clash = below;
    if (clash)
      return BufferOp(lifetime.buffer).emitOpError()
             << "memory plan: expected bytes of its own, found it sharing them with @"
             << BufferOp(clash->buffer).getSymName() << " while that is in use";
    alive[lifetime.offset] = &lifetime;
    ends.insert({lifetime.last, &lifetime});
  }
  return success();
}

void MemoryPlan::dump(raw_ostream &os) const {
  os << "memory plan: " << total << " bytes\n";
  for (const Lifetime &l : llvm::concat<const Lifetime>(lifetimes, flagged))
    os << "  [" << l.offset << ", " << l.offset + l.bytes << ") families " << l.first << " to "
       << l.last << ": @" << BufferOp(l.buffer).getSymName() << "\n";
}

static FailureOr<SmallVector<Lifetime>> computeLifetimes(ProgramOp program, OptionsAttr options) {
  llvm::MapVector<Attribute, Lifetime> lifetimes;
  for (auto buffer : program.getBody().getOps<BufferOp>())
    if (!buffer.getRequest() && !buffer.getRecord())
      lifetimes[FlatSymbolRefAttr::get(buffer)] = {buffer, -1, -1, buffer.getBytes(options)};
  DenseSet<Attribute> read;
  int64_t index = 0;
  for (auto family : program.getBody().getOps<FamilyOp>()) {
    SmallVector<Attribute> names(family.getOperands().begin(), family.getOperands().end());
    if (ArrayAttr conditions = family.getConditionsAttr())
      for (auto condition : conditions.getAsRange<ConditionAttr>())
        names.push_back(condition.getBuffer());
    for (Attribute name : names) {
      auto found = lifetimes.find(name);
      if (found == lifetimes.end())
        continue;
      if (found->second.first < 0 && !found->second.buffer.getInput())
        return family.emitOpError() << "reads " << name << " before any family writes it";
      found->second.last = index;
      read.insert(name);
    }
    for (Attribute name : family.getOutputs())
      if (auto found = lifetimes.find(name); found != lifetimes.end()) {
        found->second.first = found->second.first < 0 ? index : found->second.first;
        found->second.last = index;
      }
    ++index;
  }
  SmallVector<Lifetime> result;
  for (auto &[name, lifetime] : lifetimes) {
    StringRef symbol = lifetime.buffer.getSymName();
    // What the host reads or writes between two steps, and what nobody is known to read.
    if (symbol == "logits" || symbol == "next" || lifetime.buffer.getInput() ||
        !read.contains(name)) {
      lifetime.first = 0;
      lifetime.last = index;
    }
    result.push_back(lifetime);
  }
  llvm::stable_sort(result, [](const Lifetime &a, const Lifetime &b) { return a.first < b.first; });
  return result;
}

static MemoryPlan planMemory(SmallVector<Lifetime> lifetimes) {
  MemoryPlan plan;
  FreeList free;
  std::multimap<int64_t, Lifetime> alive; // by last use
  for (Lifetime &lifetime : lifetimes) {
    if (lifetime.buffer.getFlagged()) {
      plan.flagged.push_back(lifetime);
      continue;
    }
    for (auto it = alive.begin(); it != alive.end() && it->first < lifetime.first;
         it = alive.erase(it))
      free.give(it->second.offset, it->second.bytes);
    lifetime.offset = free.take(lifetime.bytes);
    alive.insert({lifetime.last, lifetime});
    plan.lifetimes.push_back(lifetime);
  }
  for (Lifetime &lifetime : plan.flagged) {
    lifetime.offset = free.getEnd() + plan.copy;
    plan.copy += lifetime.bytes;
  }
  plan.total = free.getEnd() + 2 * plan.copy;
  return plan;
}

namespace {
struct PlanMemory : impl::PlanMemoryBase<PlanMemory> {
  using PlanMemoryBase::PlanMemoryBase;

  void runOnOperation() override {
    OptionsAttr options = requireOptions(getOperation());
    if (!options)
      return signalPassFailure();
    for (auto program : getOperation().getOps<ProgramOp>()) {
      FailureOr<SmallVector<Lifetime>> lifetimes = computeLifetimes(program, options);
      if (failed(lifetimes))
        return signalPassFailure();
      MemoryPlan plan = planMemory(std::move(*lifetimes));
      if (failed(plan.verify()))
        return signalPassFailure();
      for (Lifetime &lifetime : llvm::concat<Lifetime>(plan.lifetimes, plan.flagged))
        lifetime.buffer.setOffset(lifetime.offset);
      program.setActivations(plan.total);
      if (plan.copy)
        program.setFlagged(plan.copy);
      if (dump)
        plan.dump(llvm::errs());
    }
  }
};
} // namespace
} // namespace mlir::mk
