from pathlib import Path

from lab.spec import MachineSpec, Probe, Program, ProgramStatus, read_statuses, write_statuses


def test_a_machine_survives_the_disk() -> None:
    program = Program(
        name="kubelet",
        argv=("/bin/kubelet", "--config=x"),
        after=(
            Probe(address="unix:///run/x.sock"),
            Probe(address="https://a", authority="ca", certificate="c", key="k"),
        ),
        environment={"PATH": "/bin"},
        grace=2.0,
    )
    spec = MachineSpec(
        name="edge",
        directory="/cache/labs/lab/edge",
        visible=("/cache/bin",),
        programs=(program, Program(name="kube-proxy", argv=("/bin/kube-proxy",))),
        sysctls={"net.ipv4.ip_forward": "1"},
        hosts={"198.18.31.10": "edge"},
    )
    assert MachineSpec.from_json(spec.to_json()) == spec


def test_statuses_survive_the_disk(tmp_path: Path) -> None:
    assert read_statuses(tmp_path) == []
    statuses = [ProgramStatus(name="etcd", state="Restarting", pid=0, restarts=3, last_exit=-9)]
    write_statuses(tmp_path, statuses)
    assert read_statuses(tmp_path) == statuses
