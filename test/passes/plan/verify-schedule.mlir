// RUN: mk-opt %s --mk-build-table --mk-verify-schedule --split-input-file --verify-diagnostics

// Tests that a race, a wait for ever and mixed counts are found in the words, and that the first program is accepted.
#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @ordered attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @there kind(@silu) [@x] -> [@y]
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.event @there.done arrivals(1)
    mk_task.event @back.done arrivals(1)
    mk_task.task @there units(0, 2) worker(0) wait [] previous [@back.done] signal [@there.done]
    mk_task.task @back units(0, 2) worker(1) wait [@there.done] previous [] signal [@back.done]
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @race attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-note @below {{the other task's family is here}}
    mk_task.family @there kind(@silu) [@x] -> [@y]
    // expected-error @below {{task 'back' units [0, 2) on worker 1 reads buffer 'y' columns [0, 16) in bytes [512, 1024) that task 'there' units [0, 2) on worker 0 writes: no event orders them}}
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.event @back.done arrivals(1)
    mk_task.task @there units(0, 2) worker(0) wait [] previous [@back.done] signal []
    mk_task.task @back units(0, 2) worker(1) wait [] previous [] signal [@back.done]
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @race_between_steps attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{task 'there' units [0, 2) on worker 0 reads buffer 'x' columns [0, 16) in bytes [0, 512) that task 'back' units [0, 2) on worker 1 writes in the step before: no event orders them}}
    mk_task.family @there kind(@silu) [@x] -> [@y]
    // expected-note @below {{the other task's family is here}}
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.event @there.done arrivals(1)
    mk_task.task @there units(0, 2) worker(0) wait [] previous [] signal [@there.done]
    mk_task.task @back units(0, 2) worker(1) wait [@there.done] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @circle attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{task 'there' units [0, 2) on worker 0 waits for ever for event 'back.done'}}
    // expected-note @below {{task 'there' units [0, 2) on worker 0 would signal it, but waits for event 'back.done'}}
    mk_task.family @there kind(@silu) [@x] -> [@y]
    // expected-note @below {{task 'back' units [0, 2) on worker 1 would signal it, but waits for event 'there.done'}}
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.event @there.done arrivals(1)
    mk_task.event @back.done arrivals(1)
    mk_task.task @there units(0, 2) worker(0) wait [@back.done] previous [] signal [@there.done]
    mk_task.task @back units(0, 2) worker(1) wait [@there.done] previous [] signal [@back.done]
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @mixed attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{task 'there' units [0, 1) on worker 0 can signal event 'there.done' of the next step before task 'there' units [1, 2) on worker 1 has signalled it in this step}}
    mk_task.family @there kind(@silu) [@x] -> [@y]
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.event @there.done arrivals(2)
    mk_task.task @there units(0, 1) worker(0) wait [] previous [] signal [@there.done]
    mk_task.task @there units(1, 2) worker(1) wait [] previous [] signal [@there.done]
    mk_task.task @back units(0, 2) worker(2) wait [@there.done] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @arrivals attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @there kind(@silu) [@x] -> [@y]
    // expected-error @below {{task 'back' units [0, 2) on worker 1 waits for 2 signals of event 'there.done', which has 1 in a step}}
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.event @there.done arrivals(2)
    mk_task.task @there units(0, 2) worker(0) wait [] previous [] signal [@there.done]
    mk_task.task @back units(0, 2) worker(1) wait [@there.done] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @unit_left_out attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{no task runs unit 1 of the 2 units of family 'there'}}
    mk_task.family @there kind(@silu) [@x] -> [@y]
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.task @there units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @back units(0, 2) worker(0) wait [] previous [] signal []
  }
}
