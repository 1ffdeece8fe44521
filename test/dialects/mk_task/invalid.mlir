// RUN: mk-opt %s -split-input-file -verify-diagnostics

// Tests that a program which names, cuts or places something wrongly is refused with a sentence that says so.

// An offset that no instruction can carry.
mk_task.program @step {
  // expected-error@+1 {{expected an offset that is a multiple of 64, found 4}}
  mk_task.buffer @x domain(tokens) offset(4) : tensor<?x64xf32>
}

// -----

// A row that its record has no room for.
mk_task.program @step {
  // expected-error@+1 {{expected a row inside a record of whole lines, found [64, 320) of 256}}
  mk_task.buffer @x input domain(tokens) record(256) offset(64) : tensor<?x64xf32>
}

// -----

// Records are written by the host, which knows nothing of words that say that they are there.
mk_task.program @step {
  // expected-error@+1 {{in a record expected an input or a result, not flagged, in natural order}}
  mk_task.buffer @x flagged domain(tokens) record(256) : tensor<?x64xf32>
}

// -----

// Tiles of a vector.
mk_task.program @step {
  // expected-error@+1 {{layout(tiles) expected a matrix, or one for each expert, found 'tensor<64xf32>'}}
  mk_task.weight @w [@w] layout(tiles) : tensor<64xf32>
}

// -----

// A matrix kind without a matrix.
mk_task.program @step {
  // expected-error@+1 {{class(tiles) expected one mk.linear and mk.yield, found mk.silu}}
  mk_task.kind @silu class(tiles) domain(tokens) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
}

// -----

// An experts kind without experts.
mk_task.program @step {
  // expected-error@+1 {{class(experts) expected mk.moe_linear or mk.moe_combine, found mk.silu}}
  mk_task.kind @silu class(experts) domain(tokens) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
}

// -----

// Partners that overlap.
mk_task.program @step {
  // expected-error@+1 {{expected partner columns at least half = 16 away, found 8}}
  mk_task.weight @w [@w] layout(tiles) segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 8>] : tensor<64x64xf32>
}

// -----

// A family of an unknown kind.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  // expected-error@+1 {{expected the name of a kind, found @gelu}}
  mk_task.family @act kind(@gelu) [@x] -> [@y]
}

// -----

// Too few operands.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  // expected-error@+1 {{"act": kind @silu expected 1 operands, found 0}}
  mk_task.family @act kind(@silu) [] -> [@y]
}

// -----

// An operand of another type.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.buffer @z domain(tokens) : tensor<?x32xf32>
  // expected-error@+1 {{"act": result @z expected type 'tensor<?x64xf32>' as in kind @silu, found 'tensor<?x32xf32>'}}
  mk_task.family @act kind(@silu) [@x] -> [@z]
}

// -----

// A unit that does not exist.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.family @act kind(@silu) [@x] -> [@y]
  // expected-error@+1 {{of @act expected units below 2, found [0, 3)}}
  mk_task.task @act units(0, 3) worker(0) wait [] previous [] signal []
}

// -----

// A unit that runs twice.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.family @act kind(@silu) [@x] -> [@y]
  // expected-note@+1 {{the other task is here}}
  mk_task.task @act units(0, 2) worker(0) wait [] previous [] signal []
  // expected-error@+1 {{expected units that no other task has, found unit 1 twice}}
  mk_task.task @act units(1, 2) worker(1) wait [] previous [] signal []
}

// -----

// A wait for something that is no event.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.family @act kind(@silu) [@x] -> [@y]
  // expected-error@+1 {{of @act expected the name of an event, found @x}}
  mk_task.task @act units(0, 2) worker(0) wait [@x] previous [] signal []
}

// -----

// A table without an end.
mk_task.program @step {
  // expected-error@+1 {{expected fewer than 1 instructions, so that one of kind -1 ends the list, found 1}}
  mk_task.table counts [1] kinds [] families [] events [] words dense<0> : tensor<1x1x32xi32>
}

// -----

// An input that a family writes over.
mk_task.program @step {
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y input domain(tokens) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(2) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  // expected-error@+1 {{"act" cannot write @y: it is an input}}
  mk_task.family @act kind(@silu) [@x] -> [@y]
}
