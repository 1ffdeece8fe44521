// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_GENERICPLACES_H
#define MK_PASSES_IMPORT_GENERICPLACES_H

#include "passes/import/Generic.h"

namespace mlir::mk {

/// Nothing, with a note that tokens would meet.
std::optional<Meaning> refuseMixing(Conversion &conversion);

/// The sum over j of x[.. j ..] or, `columns`, of j itself where `place`[.. d ..] is j: `place`
/// says for each place of the result, along `dim`, which one it takes; or, `inverse`, for each j
/// where it goes. `wraps`: places may be counted from the end.
std::optional<Meaning> takeWhere(Conversion &conversion, Location location, const Meaning &x,
                                 const Meaning &place, int64_t dim, int64_t size, bool inverse,
                                 bool columns, bool wraps = false);

/// Places must be integers: booleans choose in another way.
bool arePlaces(const std::optional<Meaning> &places);

/// An operand as what a generic reads.
std::optional<Meaning> realizeOperand(Conversion &conversion, Operation *op, unsigned number = 0);

/// A constant dimension of x, from its front.
std::optional<int64_t> readDim(const std::optional<Meaning> &x, Value dim);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_GENERICPLACES_H
