from ipaddress import IPv4Network
from itertools import combinations

import pytest

from lab.addresses import MACHINES_AND_PODS, MAX_NODES, SLOTS, AddressPlan

BENCHMARKS = IPv4Network("198.18.0.0/15")


def _networks(plan: AddressPlan) -> list[IPv4Network]:
    uplinks = [plan.uplink(hub) for hub in range(SLOTS) if hub != plan.slot]
    return [plan.pods, plan.fake_pods, plan.machines, plan.services, *uplinks]


def test_no_two_networks_of_any_two_labs_overlap() -> None:
    networks = [network for slot in range(SLOTS) for network in _networks(AddressPlan(slot=slot))]
    assert not [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])]
    assert all(network.subnet_of(BENCHMARKS) for network in networks)


def test_machines_and_pods_are_told_from_services() -> None:
    for plan in (AddressPlan(slot=slot) for slot in range(SLOTS)):
        assert plan.machines.subnet_of(MACHINES_AND_PODS)
        assert plan.pods.subnet_of(MACHINES_AND_PODS)
        assert not plan.services.overlaps(MACHINES_AND_PODS)


@pytest.mark.parametrize("slot", range(SLOTS))
def test_every_address_is_in_its_network_and_belongs_to_one(slot: int) -> None:
    plan = AddressPlan(slot=slot)
    machines = [plan.control_plane, plan.host, *(plan.node(index) for index in range(MAX_NODES))]
    assert len(set(machines)) == len(machines)
    assert all(address in plan.machines for address in machines)
    pods = [plan.node_pods(index) for index in range(MAX_NODES)]
    assert all(network.subnet_of(plan.pods) for network in pods)
    assert not [pair for pair in combinations(pods, 2) if pair[0].overlaps(pair[1])]
    # The API server takes the first address of the range for the Service `kubernetes`, whatever the lab thinks.
    assert plan.kubernetes_service == next(plan.services.hosts())
    assert plan.dns_service in plan.services


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_slot_that_is_not_there_is_refused(slot: int) -> None:
    with pytest.raises(ValueError, match="is not between"):
        AddressPlan(slot=slot)


@pytest.mark.parametrize("index", [-1, MAX_NODES])
def test_a_node_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="at most 16"):
        AddressPlan(slot=0).node(index)
    with pytest.raises(ValueError, match="at most 16"):
        AddressPlan(slot=0).node_pods(index)


@pytest.mark.parametrize("hub", [-1, 3, SLOTS])
def test_a_link_to_no_other_lab_is_refused(hub: int) -> None:
    with pytest.raises(ValueError, match="is not another lab's"):
        AddressPlan(slot=3).uplink(hub)
