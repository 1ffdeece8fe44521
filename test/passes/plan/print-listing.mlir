// RUN: mk-opt %s --mk-print-listing -o /dev/null | FileCheck %s

// Tests that the listing shows the words of a table, a number without a name as "?", and nothing for a program that has
// no table yet.

// CHECK-NOT: worker
// CHECK: worker 0: 1 instruction
// CHECK-NEXT: 0 ? ? units [7, 7) wait hint ? x 7 of the step before, {{.*}} signal ?
// CHECK-NOT: worker
mk_task.program @planned {
}
mk_task.program @step {
  mk_task.table counts [1] kinds [] families [] events [] words dense<7> : tensor<1x2x32xi32>
}
