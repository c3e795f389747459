"""Manifests get new URIs where their digests are, and keep everything else."""

from __future__ import annotations

import pytest
import yaml

from littoral.optimize.errors import OptimizeError
from littoral.optimize.rewrite import Location, digests, relocated

A, B, C = ("sha256:" + digit * 64 for digit in "abc")
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
    text, count = relocated(TEXT, {A: Location(uri="oci://r.example/one:v1", digest=A)})
    assert count == 2
    assert text == TEXT.replace('"file:///x/one.onnx"', "oci://r.example/one:v1").replace(
        "'pvc://c/x'", "oci://r.example/one:v1"
    )
    first, second = yaml.safe_load_all(text)
    assert first["spec"]["variants"][0]["artifact"]["uri"] == "oci://r.example/one:v1"
    assert second["spec"]["variants"][0]["artifact"] == {"uri": "oci://r.example/one:v1", "digest": A}


def test_a_digest_changes_where_it_has_to() -> None:
    text, count = relocated(TEXT, {B: Location(uri="oci://r.example/two:v1", digest=C)})
    assert (text, count) == (TEXT.replace("file:///x/two", "oci://r.example/two:v1").replace(B, C), 1)


def test_twice_is_as_once() -> None:
    places = {
        A: Location(uri="oci://r.example/one:v1", digest=A),
        B: Location(uri=f"oci://r.example/b:v1@{C}", digest=B),
    }
    once, _ = relocated(TEXT, places)
    assert relocated(once, places) == (once, 3)


def test_what_nobody_names_changes_nothing() -> None:
    assert relocated(TEXT, {C: Location(uri="oci://r.example/x:v1", digest=C)}) == (TEXT, 0)
    assert digests(TEXT) == {A, B}


def test_what_is_not_yaml_is_said() -> None:
    with pytest.raises(OptimizeError, match="not YAML"):
        relocated("a: [", {})
