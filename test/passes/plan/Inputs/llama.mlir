// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A Llama of two layers with tied embeddings, fused: what the plan passes take.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 32, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x160xf32> {
  %embed = mk.weight @model.embed_tokens.weight : tensor<160x64xbf16>
  %freq = mk.weight @rope.frequencies : tensor<8xf32>
  %x0 = mk.embedding %embed, %tokens : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32> loc("model.embed_tokens")
  %n1_0 = mk.weight @model.layers.0.input_layernorm.weight : tensor<64xf32>
  %n2_0 = mk.weight @model.layers.0.post_attention_layernorm.weight : tensor<64xf32>
  %q_0 = mk.weight @model.layers.0.self_attn.q_proj.weight : tensor<64x64xbf16>
  %k_0 = mk.weight @model.layers.0.self_attn.k_proj.weight : tensor<32x64xbf16>
  %v_0 = mk.weight @model.layers.0.self_attn.v_proj.weight : tensor<32x64xbf16>
  %o_0 = mk.weight @model.layers.0.self_attn.o_proj.weight : tensor<64x64xbf16>
  %gate_0 = mk.weight @model.layers.0.mlp.gate_proj.weight : tensor<96x64xbf16>
  %up_0 = mk.weight @model.layers.0.mlp.up_proj.weight : tensor<96x64xbf16>
  %down_0 = mk.weight @model.layers.0.mlp.down_proj.weight : tensor<64x96xbf16>
  %c_0 = mk.kv_cache {layer = 0 : i64} : !mk.cache<2x16xbf16>
  %qr_0, %cn_0 = mk.linear %x0, [%q_0, %k_0, %v_0] : (tensor<?x64xf32>, tensor<64x64xbf16>, tensor<32x64xbf16>, tensor<32x64xbf16>) -> (tensor<?x64xf32>, !mk.cache<2x16xbf16>) prologue {
  ^bb0(%row: tensor<?x64xf32>):
    %n = mk.rms_norm %row, %n1_0 {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x128xf32>):
    %q = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> tensor<?x64xf32>
    %k = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
    %v = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
    %qr = mk.rope %q, %positions, %freq {head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
    %kr = mk.rope %k, %positions, %freq {head_dim = 16 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x32xf32>
    %c = mk.kv_append %c_0, %kr, %v, %positions, %slots : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
    mk.yield %qr, %c : tensor<?x64xf32>, !mk.cache<2x16xbf16>
  } loc("model.layers.0.self_attn.q_proj")
  %p_0 = mk.attend %qr_0, %cn_0, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
    : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32> loc("model.layers.0.self_attn")
  %y_0 = mk.linear %p_0, [%o_0] : (tensor<?x144xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32> prologue {
  ^bb0(%row: tensor<?x144xf32>):
    %n = mk.combine %row, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x64xf32>):
    %s = mk.add %acc, %x0 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %s : tensor<?x64xf32>
  } loc("model.layers.0.self_attn.o_proj")
  %h_0 = mk.linear %y_0, [%gate_0, %up_0] : (tensor<?x64xf32>, tensor<96x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32> prologue {
  ^bb0(%row: tensor<?x64xf32>):
    %n = mk.rms_norm %row, %n2_0 {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x192xf32>):
    %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    %u = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    %s = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
    mk.yield %s : tensor<?x96xf32>
  } loc("model.layers.0.mlp.gate_proj")
  %x1 = mk.linear %h_0, [%down_0] : (tensor<?x96xf32>, tensor<64x96xbf16>) -> tensor<?x64xf32> epilogue {
  ^bb0(%acc: tensor<?x64xf32>):
    %s = mk.add %acc, %y_0 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %s : tensor<?x64xf32>
  } loc("model.layers.0.mlp.down_proj")
  %n1_1 = mk.weight @model.layers.1.input_layernorm.weight : tensor<64xf32>
  %n2_1 = mk.weight @model.layers.1.post_attention_layernorm.weight : tensor<64xf32>
  %q_1 = mk.weight @model.layers.1.self_attn.q_proj.weight : tensor<64x64xbf16>
  %k_1 = mk.weight @model.layers.1.self_attn.k_proj.weight : tensor<32x64xbf16>
  %v_1 = mk.weight @model.layers.1.self_attn.v_proj.weight : tensor<32x64xbf16>
  %o_1 = mk.weight @model.layers.1.self_attn.o_proj.weight : tensor<64x64xbf16>
  %gate_1 = mk.weight @model.layers.1.mlp.gate_proj.weight : tensor<96x64xbf16>
  %up_1 = mk.weight @model.layers.1.mlp.up_proj.weight : tensor<96x64xbf16>
  %down_1 = mk.weight @model.layers.1.mlp.down_proj.weight : tensor<64x96xbf16>
  %c_1 = mk.kv_cache {layer = 1 : i64} : !mk.cache<2x16xbf16>
  %qr_1, %cn_1 = mk.linear %x1, [%q_1, %k_1, %v_1] : (tensor<?x64xf32>, tensor<64x64xbf16>, tensor<32x64xbf16>, tensor<32x64xbf16>) -> (tensor<?x64xf32>, !mk.cache<2x16xbf16>) prologue {
  ^bb0(%row: tensor<?x64xf32>):
    %n = mk.rms_norm %row, %n1_1 {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x128xf32>):
    %q = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> tensor<?x64xf32>
    %k = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
    %v = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
    %qr = mk.rope %q, %positions, %freq {head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
    %kr = mk.rope %k, %positions, %freq {head_dim = 16 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x32xf32>
    %c = mk.kv_append %c_1, %kr, %v, %positions, %slots : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
    mk.yield %qr, %c : tensor<?x64xf32>, !mk.cache<2x16xbf16>
  } loc("model.layers.1.self_attn.q_proj")
  %p_1 = mk.attend %qr_1, %cn_1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
    : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32> loc("model.layers.1.self_attn")
  %y_1 = mk.linear %p_1, [%o_1] : (tensor<?x144xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32> prologue {
  ^bb0(%row: tensor<?x144xf32>):
    %n = mk.combine %row, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x64xf32>):
    %s = mk.add %acc, %x1 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %s : tensor<?x64xf32>
  } loc("model.layers.1.self_attn.o_proj")
  %h_1 = mk.linear %y_1, [%gate_1, %up_1] : (tensor<?x64xf32>, tensor<96x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32> prologue {
  ^bb0(%row: tensor<?x64xf32>):
    %n = mk.rms_norm %row, %n2_1 {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x192xf32>):
    %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    %u = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    %s = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
    mk.yield %s : tensor<?x96xf32>
  } loc("model.layers.1.mlp.gate_proj")
  %x2 = mk.linear %h_1, [%down_1] : (tensor<?x96xf32>, tensor<64x96xbf16>) -> tensor<?x64xf32> epilogue {
  ^bb0(%acc: tensor<?x64xf32>):
    %s = mk.add %acc, %y_1 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %s : tensor<?x64xf32>
  } loc("model.layers.1.mlp.down_proj")
  %norm = mk.weight @model.norm.weight : tensor<64xf32>
  %last = mk.select_rows %x2, %rows : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32> loc("model.select")
  %logits, %best = mk.linear %last, [%embed] : (tensor<?x64xf32>, tensor<160x64xbf16>) -> (tensor<?x160xf32>, tensor<?x10xf32>) prologue {
  ^bb0(%row: tensor<?x64xf32>):
    %n = mk.rms_norm %row, %norm {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  } epilogue {
  ^bb0(%acc: tensor<?x160xf32>):
    %b = mk.argmax_partial %acc {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x10xf32>
    mk.yield %acc, %b : tensor<?x160xf32>, tensor<?x10xf32>
  } loc("lm_head")
  %greedy = mk.argmax_reduce %best : (tensor<?x10xf32>) -> tensor<?xi32> loc("lm_head.argmax")
  %next = mk.sample %logits, %greedy : (tensor<?x160xf32>, tensor<?xi32>) -> tensor<?xi32> loc("sample")
  mk.advance %next : tensor<?xi32> loc("advance")
  return %logits : tensor<?x160xf32>
}
}
