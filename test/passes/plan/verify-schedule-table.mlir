// RUN: mk-opt %s --mk-verify-schedule --split-input-file --verify-diagnostics

// Tests that the words themselves are read: a word that names nothing, or other bytes than the plan, is an error.
#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @fits attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @f kind(@silu) [@x] -> [@y]
    mk_task.table counts [1] kinds [@silu] families [@f] events [] words dense<[[[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]> : tensor<1x2x32xi32>
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @kind attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @f kind(@silu) [@x] -> [@y]
    // expected-error @below {{instruction 0 of worker 0: expected a kind in [0, 1), found 1}}
    mk_task.table counts [1] kinds [@silu] families [@f] events [] words dense<[[[1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]> : tensor<1x2x32xi32>
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @operand attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{task 'f' units [0, 2) on worker 0: expected word 8 for 'y', found 9}}
    mk_task.family @f kind(@silu) [@x] -> [@y]
    mk_task.table counts [1] kinds [@silu] families [@f] events [] words dense<[[[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]> : tensor<1x2x32xi32>
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @units attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{a task runs unit 2 of family 'f', which has 2 units}}
    mk_task.family @f kind(@silu) [@x] -> [@y]
    mk_task.table counts [1] kinds [@silu] families [@f] events [] words dense<[[[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]> : tensor<1x2x32xi32>
  }
}
