// Tests that an op which only one side of an mk.choose needs has that side as a condition, one in a side of a side has
// both, and one that both sides need has none. Predicates move in front of what they decide about. The sides of @y
// write its result themselves, those of @b2 do not: @b2 has a side that others read.
// RUN: mk-opt %s --mk-form-tasks | FileCheck %s

!t = tensor<?x16xf32>
!p = tensor<?x1xf32>
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>,
      %x: !t {mk.input, mk.name = "x"}, %c: !p {mk.input, mk.name = "c"}) -> !t {
    %early = mk.silu %x : (!t) -> !t loc("early")
    %p = mk.across_rows %c {how = "max"} : (!p) -> !p loc("p")
    %both = mk.tanh %x : (!t) -> !t loc("both")
    %a = mk.exp %both : (!t) -> !t loc("a")
    %a1 = mk.add %a, %early : (!t, !t) -> !t loc("a1")
    %q = mk.across_rows %c {how = "min"} : (!p) -> !p loc("q")
    %b = mk.relu %both : (!t) -> !t loc("b")
    %b1 = mk.sigmoid %b : (!t) -> !t loc("b1")
    %b2 = mk.choose %q, %b1, %b : (!p, !t, !t) -> !t loc("b2")
    %y = mk.choose %p, %a1, %b2 : (!p, !t, !t) -> !t loc("y")
    mk.finish %y : !t
    return %y : !t
  }
}
// CHECK: family @p {{.*}}-> [@p.out]{{$}}
// CHECK: family @early {{.*}} if [#mk_task.condition<buffer = @p.out, taken = true>]{{$}}
// CHECK: family @both {{.*}}-> [@both.out]{{$}}
// CHECK: family @a {{.*}} if [#mk_task.condition<buffer = @p.out, taken = true>]{{$}}
// CHECK: family @a1 {{.*}} -> [@result0] if [#mk_task.condition<buffer = @p.out, taken = true>]{{$}}
// CHECK: family @q {{.*}} if [#mk_task.condition<buffer = @p.out, taken = false>]{{$}}
// CHECK: family @b {{.*}} if [#mk_task.condition<buffer = @p.out, taken = false>]{{$}}
// CHECK: family @b1 {{.*}} if [#mk_task.condition<buffer = @p.out, taken = false>, #mk_task.condition<buffer = @q.out, taken = true>]{{$}}
// CHECK: family @b2 {{.*}} -> [@result0] if [#mk_task.condition<buffer = @p.out, taken = false>]{{$}}
// CHECK-NEXT: family @finish_1
