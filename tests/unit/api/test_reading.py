"""Reading and writing objects: malformed ones are explained, never crashed on."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from littoral.api import InvalidObject, Model, NodePool
from littoral.api.assignment import AssignmentStatus, ServerReport
from littoral.api.meta import NodeSelector
from littoral.api.nodepool import DiscoveredAccelerator, NodePoolStatus
from littoral.api.serving import Artifact, ServerConfig, ServerStatus
from tests.unit.api.cases.case import DIGEST
from tests.unit.api.cases.model import model, variant
from tests.unit.api.cases.nodepool import nodepool


class TestExplaining:
    def test_names_each_wrong_field(self) -> None:
        broken = variant("Bad", memory="lots", artifact={"uri": "ftp://a/b", "digest": DIGEST})
        with pytest.raises(InvalidObject) as caught:
            Model.parse(model(variants=[variant("good"), broken], scaling={"minReplicas": 3, "maxReplicas": 2}))
        assert str(caught.value).split("; ") == [
            "spec.variants[1].name: String should match pattern '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
            "spec.variants[1].artifact.uri: must start with oci://, https://, s3://, gs://, pvc:// or file://",
            "spec.variants[1].memory: not a quantity: 'lots' (write it like 500m, 2 or 4Gi)",
            "spec.scaling.minReplicas: must not be greater than maxReplicas",
        ]

    def test_fits_a_condition(self) -> None:
        with pytest.raises(InvalidObject) as caught:
            Model.parse(model(variants=[{"name": "x" * 5000}] * 100))
        assert len(str(caught.value)) == 1024
        assert str(caught.value).endswith("…")

    @pytest.mark.parametrize("body", [None, [], "Model", 7, {}, {"metadata": None, "spec": []}])
    def test_survives_what_is_no_object(self, body: Any) -> None:
        with pytest.raises(InvalidObject):
            Model.parse(body)

    def test_takes_no_other_kind(self) -> None:
        with pytest.raises(InvalidObject, match="kind: Input should be 'NodePool'"):
            NodePool.parse(nodepool() | {"kind": "Model"})


class TestReading:
    def test_ignores_what_a_newer_version_added(self) -> None:
        newer = model(variants=[variant("v", quantum=True)], routing={"mode": "new"})
        assert Model.parse(newer) == Model.parse(model(variants=[variant("v")]))

    def test_reads_a_number_as_a_quantity(self) -> None:
        assert Model.parse(model(variants=[variant("v", cpu=2)])).spec.variants[0].cpu == "2"

    def test_objects_do_not_change(self) -> None:
        read = Model.parse(model())
        with pytest.raises(ValidationError):
            read.spec.priority = 1  # type: ignore[misc]

    def test_metadata_is_written_only_where_set(self) -> None:
        assert Model.parse(model()).dump()["metadata"] == {"name": "digits", "namespace": "default"}

    def test_finds_a_variant_by_name(self) -> None:
        read = Model.parse(model(variants=[variant("a"), variant("b")]))
        assert read.variant("b") is read.spec.variants[1]
        assert read.variant("c") is None


class TestArtifact:
    @pytest.mark.parametrize(
        ("uri", "scheme", "claim", "path"),
        [
            ("https://models.example/v1/digits.onnx", "https", None, "v1/digits.onnx"),
            ("pvc://models/v1/digits.onnx", "pvc", "models", "v1/digits.onnx"),
            ("file:///models/digits.onnx", "file", None, "/models/digits.onnx"),
        ],
    )
    def test_parts_of_a_uri(self, uri: str, scheme: str, claim: str | None, path: str) -> None:
        artifact = Artifact(uri=uri, digest=DIGEST)
        assert (artifact.scheme, artifact.claim, artifact.path) == (scheme, claim, path)


class TestNodeSelector:
    @pytest.mark.parametrize(
        ("operator", "values", "selected"),
        [
            ("In", ["8192", "4096"], {"8192"}),
            ("NotIn", ["8192"], {"many", None}),
            ("Exists", [], {"8192", "many"}),
            ("DoesNotExist", [], {None}),
            ("Gt", ["8191"], {"8192"}),
            ("Gt", ["8192"], set()),
            ("Lt", ["8193"], {"8192"}),
            ("Lt", ["8192"], set()),
        ],
    )
    def test_compares_as_node_affinity_does(self, operator: str, values: list[str], selected: set[str | None]) -> None:
        selector = NodeSelector.parse({"matchExpressions": [{"key": "memory", "operator": operator, "values": values}]})
        labels: dict[str | None, dict[str, str]] = {
            "8192": {"memory": "8192"},
            "many": {"memory": "many"},
            None: {"other": "8192"},
        }
        assert {value for value, node in labels.items() if selector.matches(node)} == selected

    def test_an_empty_one_selects_every_node(self) -> None:
        assert NodeSelector().matches({})

    def test_all_must_hold(self) -> None:
        exists = {"key": "b", "operator": "Exists"}
        selector = NodeSelector.parse({"matchLabels": {"a": "1"}, "matchExpressions": [exists]})
        assert selector.matches({"a": "1", "b": ""})
        assert not selector.matches({"a": "1"})
        assert not selector.matches({"a": "2", "b": ""})


class TestSummaries:
    def test_devices_of_a_pool_add_up_by_class(self) -> None:
        found = [("nvidia-gpu", "L4", 2), ("cpu", "", 16), ("nvidia-gpu", "T4", 1)]
        status = NodePoolStatus(
            accelerators=tuple(
                DiscoveredAccelerator(device_class=name, product=product, count=count) for name, product, count in found
            )
        )
        assert status.dump()["devices"] == "3 nvidia-gpu, 16 cpu"
        assert "devices" not in NodePoolStatus().dump()

    def test_a_server_serves_when_all_its_pods_are_ready(self) -> None:
        pods = [(2, 2), (2, 1), (0, 0)]
        status = AssignmentStatus(
            servers=tuple(
                ServerReport(name=f"s{n}", namespace="shop", replicas=wanted, ready_replicas=ready)
                for n, (wanted, ready) in enumerate(pods)
            )
        )
        assert status.dump()["serving"] == "1/3"
        assert AssignmentStatus.parse(status.dump()) == status
        assert "serving" not in AssignmentStatus().dump()


class TestServing:
    def test_a_config_survives_the_way_through_a_file(self) -> None:
        config = ServerConfig.parse(
            {
                "revision": "7f",
                "models": [
                    {
                        "name": "digits",
                        "variant": "onnx-cpu",
                        "backend": "onnxruntime",
                        "artifact": {"uri": "pvc://models/digits.onnx", "digest": DIGEST},
                        "parameters": {"intra_op_thread_count": "2"},
                    }
                ],
            }
        )
        assert ServerConfig.model_validate_json(config.model_dump_json()) == config

    def test_a_status_is_written_in_camel_case(self) -> None:
        status = ServerStatus.parse({"models": [{"name": "digits", "state": "Fetching", "totalBytes": 5}]})
        assert status.dump()["models"][0]["totalBytes"] == 5
        assert status.dump()["triton"] == {"ready": False, "version": ""}

    def test_a_model_is_named_once(self) -> None:
        served = {"name": "a", "variant": "v", "backend": "b", "artifact": {"uri": "x", "digest": DIGEST}}
        with pytest.raises(InvalidObject, match=r"models\[1\]: Duplicate value: a"):
            ServerConfig.parse({"revision": "", "models": [served, served]})
