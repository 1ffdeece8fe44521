// RUN: mk-opt %s --mk-split-kinds | FileCheck %s
// RUN: sed 's/kind = "gpu".*32768/kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 50/' %s | mk-opt --mk-split-kinds | FileCheck %s --check-prefix=CPU

// Tests that families whose rows lie in other ways get kinds of their own, one for each way, and that those whose rows
// lie alike go on to share; for a CPU, whose code asks nothing of that, all do.

module attributes {mk.target = #mk.target<kind = "gpu", features = "", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>} {
mk_task.program @step {
  mk_task.buffer @a domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @b flagged domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @c flagged domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @d domain(tokens) order(fragments) : tensor<?x64xf32>
  mk_task.buffer @e domain(tokens) record(256) : tensor<?x64xf32>
  // CHECK: mk_task.kind @relu class
  // CHECK-COUNT-3: mk_task.kind @relu_{{[0-9]+}} class
  mk_task.kind @relu class(columns) domain(tokens) {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.relu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  // CHECK: @one kind(@relu) [@a] -> [@b]
  mk_task.family @one kind(@relu) [@a] -> [@b]
  // CHECK: @two kind(@relu) [@a] -> [@c]
  mk_task.family @two kind(@relu) [@a] -> [@c]
  // CHECK: @three kind(@[[OTHER:relu_[0-9]+]]) [@b] -> [@d]
  mk_task.family @three kind(@relu) [@b] -> [@d]
  // CHECK-NOT: kind(@[[OTHER]])
  // CHECK: @four kind(@relu_{{[0-9]+}}) [@d] -> [@e]
  mk_task.family @four kind(@relu) [@d] -> [@e]
  mk_task.family @five kind(@relu) [@d] -> [@a]
}
}
// CPU-COUNT-5: kind(@relu)
