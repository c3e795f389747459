"""What the hub signs never depends on what a site asks for, and no request breaks a pass."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from littoral.hub.authority_signing import Names, RefusedRequest, create, examine, sign
from littoral.site import gateway_keys

NOW = datetime(2026, 11, 28, tzinfo=UTC)
AUTHORITY = create(NOW)
KEY = ec.generate_private_key(ec.SECP256R1())
SIGNED = gateway_keys.create("edge").request

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)
asked_names = st.lists(
    st.one_of(
        labels.map(lambda it: x509.DNSName(f"gateway-{it}.littoral.internal")),
        labels.map(lambda it: x509.UniformResourceIdentifier(f"littoral://hub/pool/{it}")),
        st.ip_addresses().map(x509.IPAddress),
        st.binary(max_size=20).map(
            lambda it: x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x04" + bytes([len(it)]) + it)
        ),
    ),
    min_size=1,
    max_size=5,
)


@given(pool=labels, member=st.none() | labels, subject=texts, asked=asked_names, authority=st.booleans())
def test_names_never_depend_on_the_request(
    pool: str, member: str | None, subject: str, asked: list[x509.GeneralName], authority: bool
) -> None:
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .add_extension(x509.SubjectAlternativeName(asked), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    request = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    names = Names(pool=pool, member=member)
    got, plain = (
        x509.load_pem_x509_certificate(sign(it, names=names, by=AUTHORITY, now=NOW).encode())
        for it in (request, SIGNED)
    )
    assert got.subject == plain.subject
    assert got.public_key() == KEY.public_key()
    for one, other in zip(got.extensions, plain.extensions, strict=True):
        # The identifier of the key is its hash.
        assert one == other or isinstance(one.value, x509.SubjectKeyIdentifier)
    standing = examine(
        got.public_bytes(serialization.Encoding.PEM).decode(), names=names, authorities=[AUTHORITY], now=NOW
    )
    assert standing is not None


def _bitten(place: int, value: int) -> str:
    der = bytearray(x509.load_pem_x509_csr(SIGNED.encode()).public_bytes(serialization.Encoding.DER))
    der[place % len(der)] = value
    body = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


@given(
    request=st.one_of(
        st.text(max_size=300),
        st.binary(max_size=300).map(lambda it: "-----BEGIN CERTIFICATE REQUEST-----\n" + it.hex()),
        st.builds(_bitten, st.integers(0, 2000), st.integers(0, 255)),
    )
)
def test_a_hostile_request_is_refused_and_does_no_more(request: str) -> None:
    try:
        signed = sign(request, names=Names(pool="edge"), by=AUTHORITY, now=NOW)
    except RefusedRequest:
        return
    # What changes no bit is as good as the original.
    own = x509.load_pem_x509_csr(SIGNED.encode()).public_key()
    assert x509.load_pem_x509_certificate(signed.encode()).public_key() == own
