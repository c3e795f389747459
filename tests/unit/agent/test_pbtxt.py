"""The top level of protobuf text."""

import pytest

from littoral.agent import pbtxt
from littoral.agent.errors import ArtifactError

EXAMPLE = """
# name: "a comment"
name: "digits" ; platform: 'onnxruntime_onnx',
max_batch_size: 8
input [ { name: "x" # nested } ]
  data_type: TYPE_FP32 dims: [ -1, 4 ] }, { name: "}" } ]
output { name: "y" }
dynamic_batching { }
parameters: { key: "a" value: { string_value: "b: [{" } }
version_policy < specific { versions: [1] } >
instance_group [
  { count: 2 kind: KIND_CPU }
]
long_text: "one"
  'two'
"""


def test_fields_in_their_order() -> None:
    fields = pbtxt.fields(EXAMPLE)
    assert [field.name for field in fields] == [
        *("name", "platform", "max_batch_size", "input", "output", "dynamic_batching", "parameters"),
        *("version_policy", "instance_group", "long_text"),
    ]
    texts = {field.name: field.text for field in fields}
    assert texts["max_batch_size"] == "max_batch_size: 8"
    assert texts["version_policy"] == "version_policy < specific { versions: [1] } >"
    assert texts["parameters"].endswith('"b: [{" } }')
    assert texts["long_text"] == "long_text: \"one\"\n  'two'"


def test_fields_put_together_are_the_same_fields() -> None:
    fields = pbtxt.fields(EXAMPLE)
    assert pbtxt.fields("\n".join(field.text for field in fields)) == fields


def test_nothing_has_no_fields() -> None:
    assert pbtxt.fields(" # only a comment\n") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name", 1),
        ("\nname:", 2),
        ("{ }", 1),
        ('a: 1\nb: "open', 2),
        ("a { b { }\n", 2),
        ("a: 1 }", 1),
        (": 1", 1),
        ("a: \x00\n}", 2),
    ],
)
def test_what_is_not_protobuf_text_is_refused(text: str, line: int) -> None:
    with pytest.raises(ArtifactError, match=f"line {line}"):
        pbtxt.fields(text)


def test_quoted_strings_are_one_token() -> None:
    value = 'quote " backslash \\ newline \n ünï { } #'
    assert [field.name for field in pbtxt.fields(f"a: {pbtxt.quoted(value)} b: 1")] == ["a", "b"]
    assert pbtxt.quoted('a"b\\c\n') == r'"a\"b\\c\012"'
