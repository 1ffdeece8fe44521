// Tests that what a step passes over nobody needs in it: a reader has the conditions of whom it reads, but for the side
// of an mk.choose; two writers of one buffer exclude each other, and then cover who reads either way; nothing that
// outlives the step, and no predicate of a later family, has or is a condition.
// RUN: sed 's/C1/if [#mk_task.condition<buffer = @p, taken = true>]/; s/C2/if [#mk_task.condition<buffer = @p, taken = false>]/; s/C[1-6]//g; s/OUT/b/' %s | mk-opt --mk-build-table --mk-verify-schedule -o /dev/null
// RUN: sed 's/C1/if [#mk_task.condition<buffer = @p, taken = true>]/; s/C2/if [#mk_task.condition<buffer = @p, taken = false>]/; s/C[1-6]//g; s/OUT/a/' %s | mk-opt --mk-build-table --mk-verify-schedule -o /dev/null
// RUN: sed 's/C1/if [#mk_task.condition<buffer = @p, taken = true>]/; s/C[1-6]//g; s/OUT/a/' %s | not mk-opt --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s --check-prefix=BOTH
// RUN: sed 's/C[12]/if [#mk_task.condition<buffer = @p, taken = true>]/; s/C[1-6]//g; s/OUT/a/' %s | not mk-opt --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s --check-prefix=BOTH
// RUN: sed 's/C1/if [#mk_task.condition<buffer = @p, taken = false>]/; s/C[1-6]//g; s/OUT/b/' %s | not mk-opt --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s --check-prefix=SIDE
// RUN: sed 's/C4/if [#mk_task.condition<buffer = @p, taken = true>]/; s/C[1-6]//g; s/OUT/b/' %s | not mk-opt --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s --check-prefix=READ
// RUN: sed 's/C5/if [#mk_task.condition<buffer = @p, taken = true>]/; s/C[1-6]//g; s/OUT/b/' %s | not mk-opt --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s --check-prefix=ENDS
// RUN: sed 's/C3/if [#mk_task.condition<buffer = @late, taken = true>]/; s/C[1-6]//g; s/OUT/b/' %s | not mk-opt --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s --check-prefix=LATE
// BOTH: family 'two' and family 'one' both write @a, one under a condition: expected conditions that exclude each other
// SIDE: family 'join' reads @a, which family 'one' writes only under conditions that family 'join' may run without
// READ: family 'end' reads @y, which family 'join' writes only under conditions that family 'end' may run without
// ENDS: family 'end' ends the step, but only under a condition
// LATE: family 'one' has a condition on @late: expected one family before it that writes this, found 1 or a later one
#t = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>
#o = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
!t = tensor<?x16xf32>
!p = tensor<?x1xf32>
module attributes {mk.target = #t, mk.options = #o} {
  mk_task.program @step attributes {activations = 4096 : i64} {
    mk_task.buffer @c input domain(tokens) offset(0) : !p
    mk_task.buffer @x input domain(tokens) offset(512) : !t
    mk_task.buffer @p domain(tokens) offset(1024) : !p
    mk_task.buffer @late domain(tokens) offset(1536) : !p
    mk_task.buffer @a domain(tokens) offset(2048) : !t
    mk_task.buffer @b domain(tokens) offset(2560) : !t
    mk_task.buffer @y domain(tokens) offset(3072) : !t
    mk_task.kind @ask class(serial) domain(tokens) units(1) {
    ^bb0(%c: !p):
      %p = mk.across_rows %c {how = "max"} : (!p) -> !p
      mk.yield %p : !p
    }
    mk_task.kind @silu class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: !t):
      %y = mk.silu %x : (!t) -> !t
      mk.yield %y : !t
    }
    mk_task.kind @choose class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%p: !p, %a: !t, %b: !t):
      %y = mk.choose %p, %a, %b : (!p, !t, !t) -> !t
      mk.yield %y : !t
    }
    mk_task.kind @finish class(serial) domain(tokens) units(1) {
    ^bb0(%y: !t):
      mk.finish %y : !t
      mk.yield
    }
    mk_task.family @asked kind(@ask) [@c] -> [@p]
    mk_task.family @one kind(@silu) [@x] -> [@a] C1 C3
    mk_task.family @two kind(@silu) [@x] -> [@OUT] C2
    mk_task.family @later kind(@ask) [@c] -> [@late]
    mk_task.family @join kind(@choose) [@p, @a, @OUT] -> [@y] C4
    mk_task.family @end kind(@finish) [@y] -> [] C5
    mk_task.task @asked units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @one units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @two units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @later units(0, 1) worker(0) wait [] previous [] signal []
    mk_task.task @join units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @end units(0, 1) worker(0) wait [] previous [] signal []
  }
}
