// Tests that what looks at a whole step is refused in a language model, and so is a predicate that may differ from row to
// row; and that a GPU has the same conditions as a CPU.
// RUN: sed 's/FINISH/mk.finish %%y : !t/; s/PREDICATE/%%p/; s/MACHINE/kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30/' %s | mk-opt --mk-form-tasks | FileCheck %s
// RUN: sed 's/FINISH//; s/PREDICATE/%%p/; s/MACHINE/kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30/' %s | not mk-opt --mk-form-tasks 2>&1 | FileCheck %s --check-prefix=MODEL
// RUN: sed 's/FINISH/mk.finish %%y : !t/; s/PREDICATE/%%p/; s/MACHINE/kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768/' %s | mk-opt --mk-form-tasks | FileCheck %s
// RUN: sed 's/FINISH/mk.finish %%y : !t/; s/PREDICATE/%%c/; s/MACHINE/kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30/' %s | not mk-opt --mk-form-tasks 2>&1 | FileCheck %s --check-prefix=ROWS

// CHECK: mk_task.family @exits
// MODEL: 'mk.across_rows' op of "head" looks at all tokens of a step; expected a function that ends with mk.finish, not a language model
// ROWS: 'mk.choose' op of "exits" expected a predicate that is equal in all rows, made from mk.across_rows
!t = tensor<?x16xf32>
!p = tensor<?x1xf32>
module attributes {mk.target = #mk.target<MACHINE>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>,
      %x: !t {mk.input, mk.name = "x"}, %c: !p {mk.input, mk.name = "c"}) -> !t {
    %p = mk.across_rows %c {how = "max"} : (!p) -> !p loc("head")
    %a = mk.silu %x : (!t) -> !t
    %y = mk.choose PREDICATE, %a, %x : (!p, !t, !t) -> !t loc("exits")
    FINISH
    return %y : !t
  }
}
