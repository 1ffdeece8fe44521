// Tests that torch.mk.rounded becomes the arithmetic that rounds to bfloat16 or float16, and that of no other type.
// RUN: sed 's/DTYPE/bfloat16/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s
// RUN: sed 's/DTYPE/float16/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=HALF
// RUN: sed 's/DTYPE/float64/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
// CHECK: mk.generic %{{.*}} sizes [4]
// CHECK: %[[BITS:.*]] = arith.bitcast %{{.*}} : f32 to i32
// CHECK: arith.shrui %[[BITS]]
// CHECK: arith.bitcast %{{.*}} : i32 to f32
// CHECK-NOT: math.roundeven
// HALF: mk.generic %{{.*}} sizes [4]
// HALF: math.roundeven
// OTHER: 'torch.mk.rounded'{{.*}}: no conversion to mk
func.func @step(%x: !x {mk.kind = "input", mk.name = "x"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %dtype = "torch.constant.str"() <{value = "DTYPE"}> : () -> !torch.str
  %y = "torch.operator"(%x, %dtype) <{name = "torch.mk.rounded"}> : (!x, !torch.str) -> !x
  return %y : !x
}
