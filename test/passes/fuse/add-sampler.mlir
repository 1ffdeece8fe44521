// Tests that the program that returns logits also chooses the next tokens and ends the step, and that nothing else may be returned.
// RUN: mk-opt %s --split-input-file --verify-diagnostics --mk-add-sampler | FileCheck %s

// CHECK-LABEL: @step
// CHECK-SAME: (%[[LOGITS:.*]]: tensor<?x160xf32>)
func.func @step(%logits: tensor<?x160xf32>) -> tensor<?x160xf32> {
  // CHECK-NEXT: %[[GREEDY:.*]] = mk.argmax %[[LOGITS]]
  // CHECK-NEXT: %[[NEXT:.*]] = mk.sample %[[LOGITS]], %[[GREEDY]]
  // CHECK-NEXT: mk.advance %[[NEXT]]
  // CHECK-NEXT: return %[[LOGITS]]
  return %logits : tensor<?x160xf32>
}

// -----

// expected-error @+1 {{mk-add-sampler: expected @step to be one block that returns one tensor<?xDxf32> of logits, found ()}}
func.func @step() {
  return
}

// -----

// expected-error @+1 {{mk-add-sampler: expected @step to be one block that returns one tensor<?xDxf32> of logits, found ('tensor<?xi32>')}}
func.func @step(%tokens: tensor<?xi32>) -> tensor<?xi32> {
  return %tokens : tensor<?xi32>
}

// -----

// expected-error @+1 {{mk-add-sampler: expected @step without mk.advance or mk.finish, found one}}
func.func @step(%logits: tensor<?x160xf32>, %next: tensor<?xi32>) -> tensor<?x160xf32> {
  mk.advance %next : tensor<?xi32>
  return %logits : tensor<?x160xf32>
}
