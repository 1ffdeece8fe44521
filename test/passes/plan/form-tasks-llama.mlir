// RUN: mk-opt %S/Inputs/llama.mlir --mk-form-tasks | FileCheck %s

// Tests that a whole model of two layers needs as many kinds as one layer (11, of which 4 serve both layers), that the
// table of tied embeddings is stored once, and that each layer grows its own cache.

// CHECK: mk_task.cache @kv0 layer(0)
// CHECK: mk_task.cache @kv1 layer(1)
// CHECK: mk_task.weight @[[EMBED:model.embed_tokens.weight]] [@model.embed_tokens.weight] layout(tiles) gathered
// CHECK-NOT: mk_task.weight @{{.*}} [@model.embed_tokens.weight]
// CHECK: mk_task.kind @embedding class(columns)
// CHECK: mk_task.kind @rms_norm_linear_rope_kv_append class(tiles) domain(tokens)
// CHECK: mk_task.kind @attend class(attend)
// CHECK: mk_task.kind @combine_linear_add class(tiles)
// CHECK: mk_task.kind @rms_norm_linear_glu class(tiles)
// CHECK: mk_task.kind @linear_add class(tiles)
// CHECK: mk_task.kind @select_rows class(columns) domain(rows)
// CHECK: mk_task.kind @rms_norm_linear_argmax_partial class(tiles) domain(rows)
// CHECK: mk_task.kind @argmax_reduce class(serial)
// CHECK: mk_task.kind @sample class(serial)
// CHECK: mk_task.kind @advance class(serial)
// CHECK-NOT: mk_task.kind
// CHECK: mk_task.family @model.embed_tokens kind(@embedding) [@[[EMBED]], @tokens]
// CHECK: kind(@rms_norm_linear_rope_kv_append) {{.*}} -> [@[[Q:.*]], @kv0]
// CHECK: kind(@attend) [@[[Q]], @kv0, @positions, @slots]
// CHECK: kind(@rms_norm_linear_rope_kv_append) {{.*}}, @kv1]
// CHECK: mk_task.family @lm_head kind({{.*}}) [@{{.*}}, @[[EMBED]], @model.norm.weight] -> [@logits, @[[BEST:.*]]]
// CHECK: kind(@argmax_reduce) [@[[BEST]]] -> [@[[GREEDY:.*]]]
// CHECK: kind(@sample) [@logits, @[[GREEDY]]] -> [@next]
// CHECK: kind(@advance) [@next] -> []
