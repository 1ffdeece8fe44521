# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""mk.ir: text in, handles, passes, text out; and what happens to handles when the module changes."""

from __future__ import annotations

import gc
import threading

import ml_dtypes
import numpy as np
import pytest
from mk.errors import CompileError
from mk.ir import Attribute, Diagnostic, Module, PassError, Symbol, Type

TEXT = """
func.func @step(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = mk.weight @model.up.weight : tensor<96x64xbf16> loc("model.up")
  %unused = mk.weight @model.gate.weight : tensor<96x64xbf16>
  %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32> epilogue {
  ^bb0(%acc: tensor<?x96xf32>):
    %s = mk.silu %acc : (tensor<?x96xf32>) -> tensor<?x96xf32>
    mk.yield %s : tensor<?x96xf32>
  }
  return %y : tensor<?x96xf32>
}
"""


@pytest.fixture
def module() -> Module:
    return Module.parse(TEXT)


def attributes_of(text: str) -> dict[str, object]:
    return Module.parse(f'"any.op"() {{{text}}} : () -> ()').body.operations[0].attributes


def test_walk_is_in_the_order_of_the_text(module: Module) -> None:
    names = [op.name for op in module.walk()]
    assert names == ["builtin.module", "func.func", "mk.weight", "mk.weight", "mk.linear", "mk.silu", "mk.yield",
                     "func.return"]  # fmt: skip


def test_values_know_their_owner(module: Module) -> None:
    block = module.body.operations[0].regions[0].blocks[0]
    weight, _, linear, end = block.operations
    assert linear.operands == [block.arguments[0], weight.results[0]]
    assert linear.operands[0].owner == block and linear.operands[1].owner == weight
    assert end.operands[0].owner == linear and linear.parent == module.body.operations[0]
    assert {linear.results[0]: "found"}[end.operands[0]] == "found"
    assert linear != linear.operands[0] and linear.operands[0] != linear.operands[1]


def test_location_and_module_path(module: Module) -> None:
    weight, unused, *_ = module.body.operations[0].regions[0].blocks[0]
    assert weight.module_path == weight.location == "model.up"
    assert unused.module_path == "" and unused.location.startswith("module:4:")


def test_types_know_their_shape() -> None:
    assert Type("tensor<?x64xf32>").shape == (None, 64)
    assert Type("tensor<96x64xbf16>").dtype == ml_dtypes.bfloat16
    assert Type("!mk.cache<2x16xbf16>").shape == (2, 16)
    assert Type("tensor<?xi32>").shape == (None,)
    with pytest.raises(TypeError, match="index has no shape"):
        _ = Type("index").shape


def test_attributes_are_python_values() -> None:
    found = attributes_of('a = 3 : i64, b = -2.5 : f64, c = "text", d = true, e, f = [@symbol, 1 : i32], '
                          "g = {h = 4 : i8}, t = tensor<4xf32>")  # fmt: skip
    assert found == {"a": 3, "b": -2.5, "c": "text", "d": True, "e": True, "f": ["symbol", 1], "g": {"h": 4},
                     "t": "tensor<4xf32>"}  # fmt: skip
    assert isinstance(found["f"][0], Symbol) and isinstance(found["t"], Type)


def test_dense_attributes_are_arrays() -> None:
    found = attributes_of("a = array<i64: 1, 2>, b = dense<[[1, 2], [3, 4]]> : tensor<2x2xi32>, "
                          "c = dense<1.5> : tensor<3xbf16>, d = array<i32>")  # fmt: skip
    np.testing.assert_array_equal(found["a"], np.array([1, 2]))
    np.testing.assert_array_equal(found["b"], np.array([[1, 2], [3, 4]], np.int32))
    np.testing.assert_array_equal(found["c"], np.full(3, 1.5, ml_dtypes.bfloat16))
    assert (
        found["b"].dtype == np.int32 and found["c"].dtype == ml_dtypes.bfloat16 and found["d"].shape == (0,)
    )


def test_other_attributes_are_text_with_fields() -> None:
    found = attributes_of(
        'a = #mk.target<kind = "cpu", features = "avx2,fma", workers = 2, lanes = 8, bandwidth = 30>'
    )["a"]
    assert isinstance(found, Attribute)
    assert found.fields == {"kind": "cpu", "features": "avx2,fma", "workers": 2, "lanes": 8, "bandwidth": 30}


@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize("locations", [False, True])
def test_text_is_read_back(module: Module, generic: bool, locations: bool) -> None:
    text = module.text(generic=generic, locations=locations)
    assert str(Module.parse(text)) == str(module)
    assert ('loc("model.up")' in text) == locations


def test_wrong_text_says_where() -> None:
    with pytest.raises(PassError, match=r"mine\.mlir:1:18: error: .*mk\.nothing") as caught:
        Module.parse("func.func @f() { mk.nothing }", name="mine.mlir")
    assert caught.value.diagnostics[0].location == "mine.mlir:1:18"


def test_broken_invariant_names_the_module_path() -> None:
    slice_text = (
        '%y = mk.slice %x {offset = 3 : i64} : (tensor<?x4xf32>) -> tensor<?x2xf32> loc("model.split")'
    )
    with pytest.raises(CompileError, match=r"model\.split: error: 'mk.slice' op expected") as caught:
        Module.parse(f"func.func @f(%x: tensor<?x4xf32>) {{ {slice_text}\n return }}")
    assert caught.value.diagnostics[0].module_path == "model.split"


def test_run_changes_the_module_and_ends_its_handles(module: Module) -> None:
    block = module.body.operations[0].regions[0].blocks[0]
    value = block.arguments[0]
    assert module.run("builtin.module(canonicalize,cse)") == []
    assert "model.gate.weight" not in str(module)
    for use in (lambda: block.operations, lambda: value.type, lambda: block.parent):
        with pytest.raises(RuntimeError, match=r"changed by run\(\); walk it again"):
            use()


def test_a_handle_keeps_its_module_alive() -> None:
    block = Module.parse(TEXT).body
    gc.collect()
    assert block.operations[0].attributes["sym_name"] == "step"


def test_unknown_pass_and_malformed_pipeline(module: Module) -> None:
    with pytest.raises(PassError, match="'nonsense' does not refer to a registered pass"):
        module.run("canonicalize,nonsense")
    with pytest.raises(PassError, match=r"expected '\)'"):
        module.run("builtin.module(cse")
    assert str(module) == str(Module.parse(TEXT))


def test_failing_pass_leaves_a_reproducer(tmp_path) -> None:
    # No torch operator has this name, so the conversion fails and names the module.
    module = Module.parse("""
      "func.func"() <{function_type = () -> (), sym_name = "step"}> ({
        "torch.unheard_of"() : () -> () loc("model.layers.0")
        "func.return"() : () -> ()
      }) : () -> ()""")
    path = tmp_path / "reproducer.mlir"
    with pytest.raises(
        PassError, match=rf"^model\.layers\.0: error: .*; to replay: mk-opt \S+ --run-reproducer {path}$"
    ) as caught:
        module.run("convert-torch-to-mk", reproducer=path)
    assert "\n" not in str(caught.value) and len(caught.value.diagnostics) == 3
    assert "torch.unheard_of" in path.read_text() and "convert-torch-to-mk" in path.read_text()


def test_an_error_of_many_messages_is_one_line() -> None:
    first = Diagnostic("error", "expected 2,\nfound 3", "a.mlir:1:2", "model.up")
    note, page = (
        Diagnostic("note", text, "", "") for text in ("from here", "see current operation: a\npage")
    )
    second, last = (Diagnostic("error", text, "", "") for text in ("also this", "the pass mk-tile failed"))
    error = PassError("do that", [Diagnostic("warning", "odd", "", ""), first, page, second, note, last])
    assert str(error) == "a.mlir:1:2: model.up: error: expected 2, found 3; 1 more like it; do that"
    assert (
        str(PassError("", [first, note]))
        == "a.mlir:1:2: model.up: error: expected 2, found 3; note: from here"
    )
    assert str(PassError("do that", [last])) == "error: the pass mk-tile failed; do that"
    assert error.diagnostics[2] is page


def test_module_attribute(module: Module) -> None:
    module.set_attribute("mk.options", "#mk.options<max_tokens = 8, max_rows = 4, max_sequences = 4, "
                         "max_length = 64, page = 16, split = 32>")  # fmt: skip
    arrays, size = module.request_arrays()
    tokens = next(array for array in arrays if array[0] == "tokens")
    assert tokens[1:3] == ("i32", 8) and tokens[3] % 64 == 0 and size > tokens[3]
    with pytest.raises(PassError, match=r"mk\.options"):
        module.set_attribute("mk.options", "#mk.options<nothing>")


def test_modules_of_several_threads_are_apart() -> None:
    texts: list[str] = []

    def work() -> None:
        module = Module.parse(TEXT)
        module.run("canonicalize,cse")
        texts.append(str(module))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 4 and len(set(texts)) == 1
