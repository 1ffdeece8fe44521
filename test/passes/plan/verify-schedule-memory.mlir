// RUN: mk-opt %s --mk-build-table --mk-verify-schedule --split-input-file --verify-diagnostics

// Tests that bytes used in two ways at once are found, and that working in place on a unit's own columns is accepted.
#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @in_place_by_columns attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @fine kind(@silu) [@x] -> [@x]
    mk_task.task @fine units(0, 2) worker(0) wait [] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @records_of_two_sizes attributes {activations = 512 : i64} {
    mk_task.buffer @x domain(tokens) record(128) offset(0) : tensor<?x16xf32>
    // expected-error @below {{buffer 'y' lies in records of 192 bytes, others in such of 128}}
    mk_task.buffer @y domain(tokens) record(192) offset(64) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @there kind(@silu) [@x] -> [@y]
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.task @there units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @back units(0, 2) worker(0) wait [] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @outside attributes {activations = 1000 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    // expected-error @below {{buffer 'y' bytes [512, 1024) does not lie inside the arena of 1000 bytes}}
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @there kind(@silu) [@x] -> [@y]
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.task @there units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @back units(0, 2) worker(0) wait [] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @two_objects_at_once attributes {activations = 1024 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(64) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{task 'there' units [0, 2) on worker 0 writes buffer 'y' columns [0, 16) in bytes [64, 576) that task 'there' units [0, 2) on worker 0 reads as 'x' in bytes [0, 512): one task cannot do both}}
    // expected-note @below {{the other task's family is here}}
    mk_task.family @there kind(@silu) [@x] -> [@y]
    mk_task.family @back kind(@silu) [@y] -> [@x]
    mk_task.task @there units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @back units(0, 2) worker(0) wait [] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @destroyed attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x16xf32>
    mk_task.buffer @z domain(tokens) offset(576) : tensor<?x16xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @produce kind(@silu) [@x] -> [@y]
    // expected-note @below {{the other task's family is here}}
    mk_task.family @overwrite kind(@silu) [@x] -> [@z]
    // expected-error @below {{task 'consume' units [0, 2) on worker 0 reads buffer 'y' columns [0, 16) in bytes [512, 1024) that task 'overwrite' units [0, 2) on worker 0 writes as 'z' in bytes [576, 1088): nothing is left to read}}
    mk_task.family @consume kind(@silu) [@y] -> [@x]
    mk_task.task @produce units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @overwrite units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @consume units(0, 2) worker(0) wait [] previous [] signal []
  }
}

// -----

#t = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @in_place_by_rows attributes {activations = 2048 : i64} {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.weight @gain [@g] layout(rows) offset(0) : tensor<16xf32>
    mk_task.kind @norm class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>, %g: tensor<16xf32>):
      %y = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    // expected-error @below {{unit 0 of family 'norm_of_x' reads columns of 'x' that another unit writes}}
    mk_task.family @norm_of_x kind(@norm) [@x, @gain] -> [@x]
    mk_task.task @norm_of_x units(0, 2) worker(0) wait [] previous [] signal []
  }
}
