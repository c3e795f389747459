"""What the hub's authority signs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from littoral.hub.authority_signing import (
    AUTHORITY_LIFETIME,
    LIFETIME,
    OVERLAP,
    Authorities,
    Names,
    RefusedRequest,
    create,
    examine,
    load,
    sign,
)
from littoral.site import gateway_keys

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
STORE = Names(pool="edge", member="store-12")
AUTHORITY = create(NOW)


def request(key: object = None, *, digest: hashes.HashAlgorithm | None = None, **names: str) -> str:
    """A request by this key, that asks for these names."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names.get("common", "anything"))])
    )
    if "dns" in names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(names["dns"])]), critical=True)
    if "authority" in names:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[arg-type]


def parsed(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def test_a_certificate_says_what_the_assignment_says_and_nothing_of_the_request() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = request(key, common="gateway-cloud", dns="gateway-cloud.littoral.internal", authority="please")
    got = parsed(sign(greedy, names=STORE, by=AUTHORITY, now=NOW))
    assert got.public_key() == key.public_key()
    assert got.subject.rfc4514_string() == "CN=gateway-edge"
    names = got.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gateway-edge.littoral.internal"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["littoral://member/store-12/pool/edge"]
    assert not got.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    uses = got.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert got.not_valid_after_utc == NOW + LIFETIME
    assert got.not_valid_before_utc < NOW  # a clock may be behind
    assert AUTHORITY.signed(got)
    assert not create(NOW).signed(got)


def test_a_pool_of_the_hubs_own_cluster_is_named_so() -> None:
    got = parsed(sign(request(), names=Names(pool="cloud"), by=AUTHORITY, now=NOW))
    names = got.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["littoral://hub/pool/cloud"]


def test_what_a_site_makes_is_signed() -> None:
    credentials = gateway_keys.create("edge")
    pem = sign(credentials.request, names=STORE, by=AUTHORITY, now=NOW)
    standing = examine(pem, names=STORE, authorities=[AUTHORITY], now=NOW)
    assert standing is not None
    assert standing.renewed_at == NOW + LIFETIME * 2 / 3


def _tampered() -> str:
    der = bytearray(x509.load_pem_x509_csr(request().encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der))
    return broken.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda: "", "no PKCS #10", id="empty"),
        pytest.param(lambda: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
                     "no PKCS #10", id="no ASN.1"),
        pytest.param(lambda: "-----BEGIN CERTIFICATE REQUEST-----\n" + "A" * 32000, "at most 8192", id="large"),
        pytest.param(lambda: "-----BEGIN \udcff", "no PKCS #10", id="no UTF-8"),
        pytest.param(_tampered, "signature", id="signed by nobody"),
        pytest.param(lambda: request(rsa.generate_private_key(65537, 2048)), "P-256", id="RSA"),
        pytest.param(lambda: request(ed25519.Ed25519PrivateKey.generate()), "P-256", id="Ed25519"),
        pytest.param(lambda: request(ec.generate_private_key(ec.SECP192R1())), "P-256", id="short key"),
        pytest.param(lambda: request(ec.generate_private_key(ec.SECP521R1())), "P-256", id="P-521"),
        pytest.param(lambda: request(digest=hashes.SHA224()), "SHA-256", id="weak hash"),
        pytest.param(lambda: AUTHORITY.certificate.public_bytes(serialization.Encoding.PEM).decode(),
                     "no PKCS #10", id="a certificate"),
    ],
)  # fmt: skip
def test_no_proper_request_is_refused(make: Callable[[], str], why: str) -> None:
    with pytest.raises(RefusedRequest, match=why):
        sign(make(), names=STORE, by=AUTHORITY, now=NOW)


GOOD = sign(request(), names=STORE, by=AUTHORITY, now=NOW)


@pytest.mark.parametrize(
    ("pem", "names", "now", "good"),
    [
        pytest.param(GOOD, STORE, NOW, True, id="ours"),
        pytest.param(GOOD, STORE, NOW + LIFETIME - DAY, True, id="soon over"),
        pytest.param(GOOD, STORE, NOW + LIFETIME, False, id="over"),
        pytest.param(GOOD, STORE, NOW - 2 * DAY, False, id="of a clock that was ahead"),
        pytest.param(GOOD, Names(pool="edge", member="other"), NOW, False, id="of another member"),
        pytest.param(GOOD, Names(pool="edge"), NOW, False, id="of a member, and now the hub's own"),
        pytest.param(GOOD, Names(pool="other", member="store-12"), NOW, False, id="of another pool"),
        pytest.param(sign(request(), names=STORE, by=create(NOW), now=NOW), STORE, NOW, False, id="by another"),
        pytest.param("-----BEGIN CERTIFICATE-----\nAAAA", STORE, NOW, False, id="broken"),
    ],
)
def test_a_certificate_that_is_good_stays(pem: str, names: Names, now: datetime, good: bool) -> None:
    assert (examine(pem, names=names, authorities=[AUTHORITY], now=now) is not None) is good


def test_authorities_come_back_as_they_were_written() -> None:
    both = Authorities((AUTHORITY, create(NOW + DAY)))
    again = load(certificates=both.bundle, keys=both.keys)
    assert (again.bundle, again.keys) == (both.bundle, both.keys)
    assert [it.key.private_numbers() for it in again.members] == [it.key.private_numbers() for it in both.members]


@pytest.mark.parametrize(
    ("certificates", "keys"),
    [
        pytest.param("", "", id="empty"),
        pytest.param(Authorities((AUTHORITY,)).bundle, "", id="without a key"),
        pytest.param(Authorities((AUTHORITY,)).bundle, Authorities((create(NOW),)).keys, id="another's key"),
        pytest.param("text", "text", id="something else"),
    ],
)
def test_what_is_no_authority_is_not_taken_for_one(certificates: str, keys: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the parser, in its own words
        load(certificates=certificates, keys=keys)


def test_a_successor_is_trusted_before_it_signs_and_the_old_one_until_nothing_needs_it() -> None:
    known = Authorities((AUTHORITY,))
    assert known.rotated(NOW) is known
    end = NOW + AUTHORITY_LIFETIME
    added = end - timedelta(days=729)
    both = known.rotated(added)
    assert [it.since for it in both.members] == [NOW, added]
    assert both.rotated(added + DAY) is both
    old, new = both.members
    for passed, signer, trusted in (
        (timedelta(0), old, 2),
        (OVERLAP - DAY, old, 2),
        (OVERLAP, new, 2),
        (OVERLAP + LIFETIME, new, 2),  # the last certificate of the old one has just ended
        (2 * OVERLAP, new, 1),
    ):
        at = added + passed
        current = both.rotated(at)
        assert current.signer(at) is signer, passed
        assert len(current.members) == trusted, passed
        assert current.members[-1] is new


def test_no_certificate_outlives_its_authority() -> None:
    late = NOW + AUTHORITY_LIFETIME - DAY
    assert parsed(sign(request(), names=STORE, by=AUTHORITY, now=late)).not_valid_after_utc == AUTHORITY.until
