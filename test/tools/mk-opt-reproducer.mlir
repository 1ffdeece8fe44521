// RUN: not mk-opt %s --mk-build-main 2>&1 | FileCheck %s
// RUN: not mk-opt %s --mk-build-main 2>&1 | sed -n 's/^to replay: mk-opt/mk-opt/p' >%t.sh
// RUN: not sh %t.sh 2>&1 | FileCheck %s --check-prefix=AGAIN
// RUN: not mk-opt %s --mk-build-main --mlir-pass-pipeline-crash-reproducer=%t.mlir 2>&1 | FileCheck %s --check-prefix=OWN
// RUN: FileCheck %s --check-prefix=LEFT <%t.mlir
// RUN: not mk-opt %s --mk-no-such-pass 2>&1 | FileCheck %s --check-prefix=NONE

// Tests that a failing pass leaves a file and the command that fails in the same way, that a file the user names takes
// its place, and that nothing is left where no pass has run.

// CHECK: error: 'mk_task.program' op expects a table
// CHECK: reproducer generated at `[[FILE:.*]]`
// CHECK: {{^}}to replay: mk-opt --allow-unregistered-dialect --run-reproducer [[FILE]]{{$}}
// AGAIN: error: 'mk_task.program' op expects a table
// AGAIN-NOT: to replay
// OWN: reproducer generated at
// OWN-NOT: to replay
// LEFT: pipeline: "builtin.module(mk-build-main{trace=false})"
// NONE-NOT: to replay
mk_task.program @step {
}
