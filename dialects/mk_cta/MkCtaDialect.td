// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_CTA_DIALECT_TD
#define MK_CTA_DIALECT_TD

include "mlir/IR/OpBase.td"

def MkCta_Dialect : Dialect {
  let name = "mk_cta";
  let cppNamespace = "::mlir::mk_cta";
  let summary = "what one worker does: memory views, tile products, waits and signals";
  let description = [{
    The lowest of the three levels. Each `mk_task.kind` becomes one function of a context and an
    instruction, the program one function `@mk_main` that walks a worker's table:

    ```
    mk_task.kind --mk-lower-kinds--> func of scf, vector, memref, mk_cta
    mk_task.program --mk-build-main--> @mk_main
    mk_cta --mk-lower-matmul, mk-lower-cta-to-llvm--> llvm
    ```

    On a GPU a worker is a CTA, and the passes are `mk-lower-gpu-kinds`, `mk-build-kernel` and
    `mk-lower-cta-to-nvvm`.

    **Types.** `!mk_cta.context` is the array of arenas that the runtime hands to every worker,
    `!mk_cta.instruction` one entry of the table; both are pointers below, described in `Abi.def`.

    **Memory model.** Everything inside a task is ordinary sequential code. Between workers only four ops
    order memory: `signal` (release) with `wait` (acquire), and `publish_step` (release) with `await_step`
    (acquire). No other op is atomic, and no fence exists beside these. On a GPU `poll`, in one thread, is
    both `wait` and `await_step`; a barrier of the CTA extends it to the other threads. Within a CTA the ring's
    barriers order the copies of its loader and the reads of its consumers.
  }];
  let useDefaultTypePrinterParser = 1;
}

#endif // MK_CTA_DIALECT_TD
