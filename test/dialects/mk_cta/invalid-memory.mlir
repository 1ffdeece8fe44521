// RUN: mk-opt %s --split-input-file --verify-diagnostics

// Tests that names come from Abi.def, that an index stays within the instruction, and that a view has the strides that a
// proof of its bounds needs.

func.func @word(%context: !mk_cta.context) {
  // expected-error@+1 {{expects the name of a context field, got "pages"}}
  %0 = mk_cta.context_word %context, "pages"
  return
}

// -----
func.func @name(%i: !mk_cta.instruction) {
  // expected-error@+1 {{expects the name of an instruction field, got "first"}}
  %0 = mk_cta.field %i, "first" [0]
  return
}

// -----
func.func @index(%i: !mk_cta.instruction) {
  // expected-error@+1 {{expects a word of the 32 of an instruction, got "operand" [16]}}
  %0 = mk_cta.field %i, "operand" [16]
  return
}

// -----
func.func @arena(%context: !mk_cta.context, %n: index) {
  // expected-error@+1 {{expects the name of a context field, got "weights"}}
  %0 = mk_cta.view %context, "weights", %n : memref<4xf32>
  return
}

// -----
func.func @strides(%context: !mk_cta.context, %n: index) {
  // expected-error@+1 {{expects a memref with static strides and no offset}}
  %0 = mk_cta.view %context, "scratch", %n : memref<4x4xf32, strided<[?, 1]>>
  return
}

// -----
func.func @sizes(%context: !mk_cta.context, %n: index) {
  // expected-error@+1 {{expects static sizes after the first}}
  %0 = mk_cta.view %context, "scratch", %n : memref<4x?xf32, strided<[4, 1]>>
  return
}
