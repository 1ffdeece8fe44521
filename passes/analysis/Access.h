// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_ACCESS_H
#define MK_PASSES_ANALYSIS_ACCESS_H

#include "dialects/mk_task/MkTask.h"
#include "passes/analysis/Columns.h"
#include <map>

namespace mlir::mk_task {

/// Memory that tasks read and write. Two objects that share bytes conflict wholly; within one
/// object only equal columns do. Weights are not objects: no task writes them.
struct MemoryObject {
  enum Space { Request, Activations, Cache, Inputs, Results } space;
  StringRef name;
  int64_t begin, end; // bytes of the activation arena or of a record, or layers of the pool
  int64_t columns;
  /// Its words say themselves whether they have been written: see mk_task.buffer.
  bool flagged = false;
  /// A cache of which no task reads what the same step writes: see mk.attend.
  bool forwarded = false;
};

/// What a task does to one object.
struct Access {
  unsigned object;
  bool write;
  /// The columns are shares of a row that the step deals out anew: they keep tasks of one family
  /// and one step apart, and overlap every other access of the object.
  bool shares;
  ColumnSet columns;
  /// The task reads before it has waited for anything.
  bool early = false;
};

/// Which memory each range of a family's units touches.
class AccessAnalysis {
public:
  /// Fails, with an error, on a buffer without an offset.
  static FailureOr<AccessAnalysis> get(ProgramOp program);

  ArrayRef<MemoryObject> getObjects() const { return objects; }
  /// Reads before writes, at most one of each for an object.
  SmallVector<Access> getAccesses(FamilyOp family, int64_t begin, int64_t end);

  KindOp getKind(FamilyOp family) const { return symbols->lookup<KindOp>(family.getKind()); }
  Operation *lookup(StringRef name) const { return symbols->lookup(name); }

private:
  /// An access of an argument or result of a kind; `index` counts arguments, then results.
  struct KindAccess {
    unsigned index;
    bool write, shares;
    ColumnSet columns;
  };

  std::shared_ptr<SymbolTable> symbols;
  int64_t lanes;
  SmallVector<MemoryObject> objects;
  llvm::StringMap<unsigned> objectOf;
  std::map<std::tuple<Operation *, int64_t, int64_t>, SmallVector<KindAccess>> cache;
};

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_ACCESS_H
