"""Manifests get new URIs where their digests are, and keep everything else."""

from __future__ import annotations

import pytest
import yaml

from littoral.optimize.errors import OptimizeError
from littoral.optimize.rewrite import digests, with_uris

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
TEXT = f"""\
# accuracy: measured
kind: Model
spec:
  variants:
  - name: one   # the first
    artifact: {{uri: "file:///x/one.onnx", digest: "{A}"}}
  - name: two
    artifact:
      digest: {B}
      uri: file:///x/two
---
kind: Model
spec: {{variants: [{{artifact: {{uri: 'pvc://c/x', digest: {A}}}}}]}}
"""


def test_only_the_uris_change() -> None:
    text, count = with_uris(TEXT, {A: "oci://r.example/one:v1"})
    assert count == 2
    assert text == TEXT.replace('"file:///x/one.onnx"', "oci://r.example/one:v1").replace(
        "'pvc://c/x'", "oci://r.example/one:v1"
    )
    first, second = yaml.safe_load_all(text)
    assert first["spec"]["variants"][0]["artifact"]["uri"] == "oci://r.example/one:v1"
    assert second["spec"]["variants"][0]["artifact"] == {"uri": "oci://r.example/one:v1", "digest": A}


def test_twice_is_as_once() -> None:
    once, _ = with_uris(TEXT, {A: "oci://r.example/one:v1", B: "oci://r.example/two:v1@" + A})
    assert with_uris(once, {A: "oci://r.example/one:v1", B: "oci://r.example/two:v1@" + A}) == (once, 3)


def test_what_nobody_names_changes_nothing() -> None:
    assert with_uris(TEXT, {"sha256:" + "c" * 64: "oci://r.example/x:v1"}) == (TEXT, 0)
    assert digests(TEXT) == {A, B}


def test_what_is_not_yaml_is_said() -> None:
    with pytest.raises(OptimizeError, match="not YAML"):
        with_uris("a: [", {})
