// Tests that !mk.cache has positive sizes and whole words of keys.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK: @cache(!mk.cache<3x64xbf16>, !mk.cache<2x15xf32>)
func.func private @cache(!mk.cache<3x64xbf16>, !mk.cache<2x15xf32>)

// -----

// expected-error @+1 {{expected a cache of f32 or bf16, found 'f16'}}
func.func private @f(!mk.cache<3x64xf16>)

// -----

// expected-error @+1 {{expected a cache of positive sizes with a head_dim that is a multiple of 2, found 3x15}}
func.func private @f(!mk.cache<3x15xbf16>)

// -----

// expected-error @+1 {{expected <heads x head_dim x type>, found 1 sizes}}
func.func private @f(!mk.cache<64xbf16>)
