// RUN: mk-opt %s --mk-infer-events --split-input-file --verify-diagnostics | FileCheck %s

// Tests that a task waits for the families of other workers that it depends on: @consume for what it reads (this step),
// @produce for what it writes over (the step before). @local depends only on its own worker: no wait, no event.
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.buffer @z domain(tokens) offset(1024) : tensor<?x16xf32>
    mk_task.weight @gain [@g] layout(rows) offset(0) : tensor<16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.kind @norm class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>, %g: tensor<16xf32>):
      %y = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @produce kind(@silu) [@x] -> [@y]
    mk_task.family @consume kind(@norm) [@y, @gain] -> [@z]
    mk_task.family @local kind(@silu) [@z] -> [@x]
    // CHECK: mk_task.event @produce.done arrivals(2)
    // CHECK-NEXT: mk_task.event @consume.done arrivals(2)
    // CHECK-NEXT: task @produce units(0, 1) worker(0) wait [] previous [@produce.done, @consume.done] signal [@produce.done]
    mk_task.task @produce units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @produce units(1, 2) worker(1) wait [] previous [] signal []
    // CHECK: task @consume units(0, 1) worker(0) wait [@produce.done] previous [@consume.done] signal [@consume.done]
    mk_task.task @consume units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @consume units(1, 2) worker(1) wait [] previous [] signal []
    // CHECK: task @local units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @local units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @local units(1, 2) worker(1) wait [] previous [] signal []
  }
}

// -----

// Tests that tasks of one family may not depend on each other: every unit of @norm reads what each of them writes.
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.weight @gain [@g] layout(rows) offset(0) : tensor<16xf32>
    mk_task.kind @norm class(columns) domain(tokens) units(2)
        segments [#mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>] {
    ^bb0(%x: tensor<?x16xf32>, %g: tensor<16xf32>):
      %y = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @in_place kind(@norm) [@x, @gain] -> [@x]
    mk_task.task @in_place units(0, 1) worker(0) wait [] previous [] signal []
    // expected-error @below {{task 'in_place' units [1, 2) on worker 1 and task 'in_place' units [0, 1) on worker 0 of one family touch the same columns of 'x'}}
    mk_task.task @in_place units(1, 2) worker(1) wait [] previous [] signal []
  }
}
