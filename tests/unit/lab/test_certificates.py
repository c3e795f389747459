from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(directory=tmp_path / "pki")
    authority.create()
    return authority


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_servers_certificate_names_it_and_is_the_authoritys(authority: Authority) -> None:
    address = IPv4Address("198.18.31.1")
    path, key = authority.issue("server", common_name="api", names=["localhost"], addresses=[address])
    certificate = _load(path)
    certificate.verify_directly_issued_by(_load(authority.certificate))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [address]
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in uses
    assert key.stat().st_mode & 0o077 == 0


def test_a_kubeconfig_holds_a_client_that_cannot_serve(authority: Authority, tmp_path: Path) -> None:
    into = tmp_path / "node"
    into.mkdir()
    path = authority.kubeconfig(
        "kubelet", server="https://a:6443", user="system:node:edge", organization="system:nodes", into=into
    )
    assert path.parent == into
    assert path.stat().st_mode & 0o077 == 0
    config = yaml.safe_load(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://a:6443"
    subject = _load(into / "kubelet.crt").subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:edge"
    assert subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"
    uses = _load(into / "kubelet.crt").extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_an_authority_stays_the_same(authority: Authority) -> None:
    before = authority.certificate.read_bytes()
    authority.create()
    assert authority.certificate.read_bytes() == before
