"""How the kinds behave beyond their rules: defaults, columns, names, subresources, merging, immutability."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest

from littoral.api import Model, conditions
from littoral.api.assignment import AssignmentStatus
from littoral.api.crds import KINDS, Kind
from littoral.api.model import ModelStatus, Placement
from littoral.api.nodepool import NodePoolStatus, Tier
from littoral.api.serving import ModelState
from tests.cluster.api_server import TABLE, ApiServer, location
from tests.unit.api.cases.assignment import assignment
from tests.unit.api.cases.latencyslo import latency_slo
from tests.unit.api.cases.model import model, variant
from tests.unit.api.cases.nodepool import nodepool

Object = dict[str, Any]

DISCOVERY = "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"
GROUP_PATH = "/apis/littoral.dev/v1alpha1"
MINIMAL = (model(), nodepool(), latency_slo(), assignment())
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.KIND)


def within(namespace: str, body: Object) -> Object:
    """The object in a namespace; cluster-scoped ones get the namespace's name, so that tests do not meet."""
    place = {"namespace": namespace} if "namespace" in body["metadata"] else {"name": namespace}
    return {**body, "metadata": {**body["metadata"], **place}}


@pytest.fixture
def pool(api: ApiServer, namespace: str) -> Iterator[Object]:
    """A NodePool that exists."""
    created = api.create(within(namespace, nodepool()))
    yield created
    api.delete(location(created))


class TestDefaults:
    @pytest.mark.parametrize("body", MINIMAL, ids=lambda body: body["kind"])
    def test_nothing_has_been_observed(self, api: ApiServer, body: Object) -> None:
        assert api.dry_create(body).granted()["status"] == {"observedGeneration": -1}

    def test_of_a_model(self, api: ApiServer) -> None:
        spec = api.dry_create(model()).granted()["spec"]
        assert spec["priority"] == 100
        assert spec["scaling"] == {"minReplicas": 0, "maxReplicas": 20}
        assert spec["variants"] == model()["spec"]["variants"]

    def test_within_an_object_that_is_given_in_part(self, api: ApiServer) -> None:
        spec = api.dry_create(
            model(scaling={"minReplicas": 2}, verification={"publicKeySecretRef": {"name": "release-key"}})
        ).granted()["spec"]
        assert spec["scaling"] == {"minReplicas": 2, "maxReplicas": 20}
        assert spec["verification"]["publicKeySecretRef"]["key"] == "cosign.pub"

    def test_of_a_latency_slo(self, api: ApiServer) -> None:
        spec = api.dry_create(latency_slo()).granted()["spec"]
        assert spec == {
            "modelRef": {"name": "digits"},
            "percentile": "99",
            "latency": "50ms",
            "objective": "99.9",
            "demand": {"floor": "0"},
            "overflow": "Allow",
        }

    @pytest.mark.parametrize("body", MINIMAL, ids=lambda body: body["kind"])
    def test_are_those_of_the_models_in_python(self, api: ApiServer, body: Object) -> None:
        kind = next(kind.resource for kind in KINDS if body["kind"] == kind.resource.KIND)
        served = kind.parse(api.dry_create(body).granted()).dump()
        assert served["spec"] == kind.parse(body).dump()["spec"]


class TestNames:
    def test_short_names_and_categories(self, api: ApiServer) -> None:
        resources = {item["name"]: item for item in api.get(GROUP_PATH).granted()["resources"]}
        found = {name: item["shortNames"] for name, item in resources.items() if "/" not in name}
        assert found == {
            "models": ["mdl"],
            "nodepools": ["pool"],
            "latencyslos": ["slo"],
            "assignments": ["asg"],
        }
        assert all(item["categories"] == ["littoral"] for name, item in resources.items() if "/" not in name)
        assert {name for name in resources if "/" in name} == {
            "models/scale",
            *(f"{name}/status" for name in found),
        }

    def test_take_no_name_of_kubernetes(self, api: ApiServer) -> None:
        ours: set[str] = set()
        theirs: set[str] = set()
        for root in ("/api", "/apis"):
            for group in api.get(root, accept=DISCOVERY).granted()["items"]:
                names = ours if group["metadata"].get("name") == "littoral.dev" else theirs
                for resource in chain.from_iterable(version["resources"] for version in group["versions"]):
                    names |= {resource["resource"], resource["singularResource"], *resource.get("shortNames", ())}
        assert {"pods", "po", "svc"} <= theirs
        assert len(ours) == 12
        assert not ours & theirs


class TestExplain:
    @each_kind
    def test_describes_every_field(self, api: ApiServer, kind: Kind) -> None:
        schemas = api.get(f"/openapi/v3{GROUP_PATH}").granted()["components"]["schemas"]
        schema = schemas[f"dev.littoral.v1alpha1.{kind.resource.KIND}"]
        fields = dict(_fields(schema))
        silent = [path for path, field in fields.items() if len(field.get("description", "")) < 10]
        assert silent == []
        assert len(fields) > 15

    @each_kind
    def test_describes_the_kind(self, api: ApiServer, kind: Kind) -> None:
        schemas = api.get(f"/openapi/v3{GROUP_PATH}").granted()["components"]["schemas"]
        assert schemas[f"dev.littoral.v1alpha1.{kind.resource.KIND}"]["description"].endswith(".")


def _fields(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, field
        yield from _fields(field, here)
        yield from _fields(field.get("items", {}), f"{here}[]")


class TestColumns:
    def shown(self, api: ApiServer, body: Object, status: Object, *, wide: bool = False) -> dict[str, object]:
        """What `kubectl get` prints of the object with this status."""
        try:
            api.create(body)
            api.merge(f"{location(body)}/status", {"status": status}).granted()
            table = api.get(location(body), accept=TABLE).granted()
        finally:
            api.delete(location(body))
        columns = table["columnDefinitions"]
        cells = zip(columns, table["rows"][0]["cells"], strict=True)
        return {column["name"]: cell for column, cell in cells if wide or column["priority"] == 0}

    def ready(self) -> list[Object]:
        told = conditions.ready((), reason="Serving", message="2 of 2 places answer", generation=1, now=NOW)
        return [condition.dump() for condition in told]

    def test_of_a_model(self, api: ApiServer, namespace: str) -> None:
        body = within(namespace, model())
        status = {"conditions": self.ready(), "placed": "2/2", "readyReplicas": 3, "url": "http://digits.shop"}
        cells = self.shown(api, body, status, wide=True)
        assert cells.pop("Age") is not None
        assert cells == {
            "Name": "digits",
            "Ready": "True",
            "Placed": "2/2",
            "Replicas": 3,
            "URL": "http://digits.shop",
            "Priority": 100,
            "Reason": "Serving",
            "Message": "2 of 2 places answer",
        }

    def test_of_a_model_fit_a_terminal(self, api: ApiServer, namespace: str) -> None:
        cells = self.shown(api, within(namespace, model()), {"conditions": self.ready()})
        assert list(cells) == ["Name", "Ready", "Placed", "Replicas", "URL", "Age"]

    def test_of_a_nodepool(self, api: ApiServer, namespace: str) -> None:
        accelerators = [{"class": "cpu", "count": 8}, {"class": "intel-npu", "count": 1}]
        status = NodePoolStatus.parse(
            {"readyNodes": 2, "accelerators": accelerators, "conditions": self.ready()}
        ).dump()
        cells = self.shown(api, within(namespace, nodepool()), status)
        assert cells.pop("Age") is not None
        assert cells == {
            "Name": namespace,
            "Ready": "True",
            "Tier": "edge",
            "Site": "store-12",
            "Nodes": 2,
            "Devices": "8 cpu, 1 intel-npu",
        }

    def test_of_a_latency_slo(self, api: ApiServer, namespace: str) -> None:
        cells = self.shown(api, within(namespace, latency_slo()), {"conditions": self.ready()})
        assert cells.pop("Age") is not None
        assert cells == {
            "Name": "digits",
            "Ready": "True",
            "Model": "digits",
            "Percentile": "99",
            "Latency": "50ms",
        }

    def test_of_an_assignment(self, api: ApiServer, namespace: str) -> None:
        reports = [{"name": f"s{n}", "namespace": "shop", "replicas": 1, "readyReplicas": n} for n in range(2)]
        status = AssignmentStatus.parse({"servers": reports, "conditions": self.ready()}).dump()
        cells = self.shown(api, within(namespace, assignment()), status)
        assert cells.pop("Age") is not None
        assert cells == {"Name": namespace, "Ready": "True", "Tier": "edge", "Site": "store-12", "Serving": "1/2"}


class TestScale:
    def test_reads_and_sets_the_fewest_replicas(self, api: ApiServer, namespace: str) -> None:
        created = api.create(within(namespace, model()))
        scale = f"{location(created)}/scale"
        selector = "serves.littoral.dev/digits=true"
        api.merge(f"{location(created)}/status", {"status": {"replicas": 3, "selector": selector}}).granted()

        before = api.get(scale).granted()
        assert before["spec"] == {}  # metav1 leaves a zero out
        assert before["status"] == {"replicas": 3, "selector": selector}

        api.merge(scale, {"spec": {"replicas": 4}}).granted()
        assert api.get(location(created)).granted()["spec"]["scaling"] == {"minReplicas": 4, "maxReplicas": 20}

    def test_obeys_the_rules(self, api: ApiServer, namespace: str) -> None:
        created = api.create(within(namespace, model()))
        answer = api.merge(f"{location(created)}/scale", {"spec": {"replicas": 21}})
        assert answer.status == 422
        assert "must not be greater than maxReplicas" in answer.body["message"]


class TestStatus:
    def test_is_written_apart_from_the_spec(self, api: ApiServer, namespace: str) -> None:
        created = api.create(within(namespace, model()))
        api.merge(location(created), {"spec": {"priority": 7}, "status": {"placed": "9/9"}}).granted()
        api.merge(f"{location(created)}/status", {"spec": {"priority": 9}, "status": {"url": "http://x"}}).granted()
        found = api.get(location(created)).granted()
        assert found["spec"]["priority"] == 7
        assert found["status"] == {"observedGeneration": -1, "url": "http://x"}
        assert found["metadata"]["generation"] == 2

    def test_of_a_model_survives_the_way_there_and_back(self, api: ApiServer, namespace: str) -> None:
        created = Model.parse(api.create(within(namespace, model())))
        status = ModelStatus(
            observed_generation=1,
            conditions=conditions.reconciling((), reason="Loading", message="1 of 2", generation=1, now=NOW),
            replicas=2,
            placements=(
                Placement(
                    pool="edge",
                    tier=Tier.EDGE,
                    accelerator="cpu",
                    variant="onnx-cpu",
                    server="triton-edge-cpu",
                    state=ModelState.LOADING,
                ),
            ),
        )
        body = created.with_status(status).dump()
        applied = {key: body[key] for key in ("apiVersion", "kind", "status")} | {
            "metadata": {"name": created.name, "namespace": namespace}
        }
        answer = api.apply(applied, manager="littoral-hub", path=f"{location(body)}/status")
        assert Model.parse(answer.granted()).status == status

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("replicas", -1, "should be greater than or equal to 0"),
            ("conditions", [{"type": "Ready"}], "Required value"),
            ("conditions", [{"type": "Ready", "status": "Maybe"}], "Unsupported value"),
            ("placements", [{"pool": "edge", "tier": "fog"}], "Unsupported value"),
            ("rejections", [{"pool": "edge", "reason": "NoDevice", "message": "m" * 1025}], "Too long"),
        ],
    )
    def test_is_held_to_its_schema(self, api: ApiServer, namespace: str, field: str, value: object, says: str) -> None:
        created = api.create(within(namespace, model()))
        answer = api.merge(f"{location(created)}/status", {"status": {field: value}})
        assert answer.status == 422
        assert any(f"status.{field}" in refusal and says in refusal for refusal in answer.refusals)


class TestApply:
    def test_merges_variants_by_name(self, api: ApiServer, namespace: str) -> None:
        mine, yours = (within(namespace, model(variants=[variant(name)])) for name in ("mine", "yours"))
        api.apply(mine, manager="me").granted()
        both = api.apply(yours, manager="you").granted()
        assert [item["name"] for item in both["spec"]["variants"]] == ["mine", "yours"]
        changed = within(namespace, model(variants=[variant("mine", cpu="2")]))
        merged = api.apply(changed, manager="me").granted()["spec"]["variants"]
        assert [(item["name"], item.get("cpu")) for item in merged] == [("mine", "2"), ("yours", None)]

    def test_merges_sites_as_a_set(self, api: ApiServer, namespace: str) -> None:
        for manager, sites in (("me", ["a", "b"]), ("you", ["b", "c"])):
            body = within(namespace, latency_slo(sites={"matchNames": sites}))
            answer = api.apply(body, manager=manager).granted()
        assert answer["spec"]["sites"]["matchNames"] == ["a", "b", "c"]

    def test_takes_a_selector_as_a_whole(self, api: ApiServer, pool: Object) -> None:
        name = pool["metadata"]["name"]
        for manager, label in (("me", "a"), ("you", "b")):
            body = within(name, nodepool(nodeSelector={"matchLabels": {label: "x"}}))
            answer = api.apply(body, manager=manager)
        assert answer.status == 409
        assert ".spec.nodeSelector" in answer.body["message"]


class TestImmutable:
    def test_model_of_a_latency_slo(self, api: ApiServer, namespace: str) -> None:
        created = api.create(within(namespace, latency_slo()))
        answer = api.merge(location(created), {"spec": {"modelRef": {"name": "other"}}})
        assert answer.status == 422
        assert "cannot be changed: make another LatencySLO for another Model" in answer.refusals[0]
        api.merge(location(created), {"spec": {"latency": "60ms"}}).granted()

    def test_member_of_a_nodepool_is_not_taken_away(self, api: ApiServer, namespace: str) -> None:
        joined = api.create(within(namespace, nodepool(member="store-12")))
        try:
            for member in (None, "store-13"):
                assert api.merge(location(joined), {"spec": {"member": member}}).status == 422
            api.merge(location(joined), {"spec": {"member": "store-12", "site": "store-13"}}).granted()
        finally:
            api.delete(location(joined))

    def test_member_of_a_nodepool(self, api: ApiServer, pool: Object) -> None:
        answer = api.merge(location(pool), {"spec": {"member": "store-12"}})
        assert answer.status == 422
        assert answer.refusals[0].startswith("spec.member: ")
        assert "cannot be changed: make another NodePool for the nodes of another cluster" in answer.refusals[0]
        api.merge(location(pool), {"spec": {"site": "store-13"}}).granted()


def test_a_typing_error_is_refused(api: ApiServer) -> None:
    answer = api.dry_create(model(varients=[]))
    assert answer.status == 400
    assert 'unknown field "spec.varients"' in answer.body["message"]
