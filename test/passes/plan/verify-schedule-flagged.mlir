// RUN: mk-opt %s --mk-build-table --mk-verify-schedule --split-input-file --verify-diagnostics

// Tests that a hint is enough to read a flagged buffer within a step, but that steps are kept apart by events that order
// memory, and that a word which nobody writes, or which comes later, is not waited for. The first program is accepted.
#t = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 64, page = 16, split = 32>
#s = #mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @hinted attributes {activations = 5120 : i64, flagged = 1024 : i64} {
    mk_task.buffer @in domain(tokens) offset(0) : tensor<?x32xf32>
    mk_task.buffer @x flagged domain(tokens) offset(3072) : tensor<?x32xf32>
    mk_task.buffer @out domain(tokens) offset(1024) : tensor<?x32xf32>
    mk_task.buffer @rest domain(tokens) offset(2048) : tensor<?x32xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(8) segments [#s] {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.family @make kind(@silu) [@in] -> [@x]
    mk_task.family @use kind(@silu) [@x] -> [@out]
    mk_task.family @seal kind(@silu) [@in] -> [@rest]
    mk_task.event @make.done hint arrivals(1)
    mk_task.event @use.done arrivals(1)
    mk_task.event @seal.done arrivals(1)
    mk_task.task @make units(0, 8) worker(0) wait [] previous [@use.done] signal [@make.done]
    mk_task.task @use units(0, 8) worker(1) wait [] previous [@seal.done] hint [@make.done] signal [@use.done]
    mk_task.task @seal units(0, 8) worker(0) wait [] previous [] signal [@seal.done]
  }
}

// -----

#t = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 64, page = 16, split = 32>
#s = #mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @steps attributes {activations = 5120 : i64, flagged = 1024 : i64} {
    mk_task.buffer @in domain(tokens) offset(0) : tensor<?x32xf32>
    mk_task.buffer @x flagged domain(tokens) offset(3072) : tensor<?x32xf32>
    mk_task.buffer @out domain(tokens) offset(1024) : tensor<?x32xf32>
    mk_task.buffer @rest domain(tokens) offset(2048) : tensor<?x32xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(8) segments [#s] {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    // expected-error @below {{task 'make' units [0, 8) on worker 0 uses flagged buffer 'x', which task 'use' units [0, 8) on worker 1 uses in the step before: no event that orders memory is between them}}
    mk_task.family @make kind(@silu) [@in] -> [@x]
    mk_task.family @use kind(@silu) [@x] -> [@out]
    mk_task.family @seal kind(@silu) [@in] -> [@rest]
    mk_task.event @make.done hint arrivals(1)
    mk_task.event @use.done arrivals(1)
    mk_task.event @seal.done arrivals(1)
    mk_task.task @make units(0, 8) worker(0) wait [] previous [] signal [@make.done]
    mk_task.task @use units(0, 8) worker(1) wait [] previous [@seal.done] hint [@make.done] signal [@use.done]
    mk_task.task @seal units(0, 8) worker(0) wait [] previous [] signal [@seal.done]
  }
}

// -----

#t = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 64, page = 16, split = 32>
#s = #mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @unhinted attributes {activations = 5120 : i64, flagged = 1024 : i64} {
    mk_task.buffer @in domain(tokens) offset(0) : tensor<?x32xf32>
    mk_task.buffer @x flagged domain(tokens) offset(3072) : tensor<?x32xf32>
    mk_task.buffer @out domain(tokens) offset(1024) : tensor<?x32xf32>
    mk_task.buffer @rest domain(tokens) offset(2048) : tensor<?x32xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(8) segments [#s] {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    // expected-note @below {{the other task's family is here}}
    mk_task.family @make kind(@silu) [@in] -> [@x]
    // expected-error @below {{task 'use' units [0, 8) on worker 1 reads buffer 'x' columns [0, 32) in bytes [3072, 4096) that task 'make' units [0, 8) on worker 0 writes: no event orders them}}
    mk_task.family @use kind(@silu) [@x] -> [@out]
    mk_task.family @seal kind(@silu) [@in] -> [@rest]
    mk_task.event @make.done hint arrivals(1)
    mk_task.event @use.done arrivals(1)
    mk_task.event @seal.done arrivals(1)
    mk_task.task @make units(0, 8) worker(0) wait [] previous [@use.done] signal [@make.done]
    mk_task.task @use units(0, 8) worker(1) wait [] previous [@seal.done] signal [@use.done]
    mk_task.task @seal units(0, 8) worker(0) wait [] previous [] signal [@seal.done]
  }
}

// -----

#t = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 64, page = 16, split = 32>
#s = #mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @unwritten attributes {activations = 5120 : i64, flagged = 1024 : i64} {
    mk_task.buffer @in domain(tokens) offset(0) : tensor<?x32xf32>
    mk_task.buffer @x flagged domain(tokens) offset(3072) : tensor<?x32xf32>
    mk_task.buffer @out domain(tokens) offset(1024) : tensor<?x32xf32>
    mk_task.buffer @rest domain(tokens) offset(2048) : tensor<?x32xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(8) segments [#s] {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    // expected-error @below {{task 'use' units [0, 8) on worker 1 reads flagged buffer 'x' where no task of the step has written it: it would wait for ever}}
    mk_task.family @use kind(@silu) [@x] -> [@out]
    mk_task.family @seal kind(@silu) [@in] -> [@rest]
    mk_task.event @make.done hint arrivals(1)
    mk_task.event @use.done arrivals(1)
    mk_task.event @seal.done arrivals(1)
    mk_task.task @use units(0, 8) worker(1) wait [] previous [@seal.done] signal [@use.done]
    mk_task.task @seal units(0, 8) worker(0) wait [] previous [] signal [@seal.done]
  }
}
