"""What is loaded, and what is not, when artifacts are packed, signed or damaged: seen from Triton's answers."""

import base64
import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyrage import x25519

from littoral.agent.digest import of_file
from tests.agent.harness import Agent, model_of, network


def sign(artifact: dict[str, str], key: ec.EllipticCurvePrivateKey) -> None:
    """As `cosign sign-blob --bundle` does."""
    path = Path(artifact["uri"].removeprefix("file://"))
    signature = base64.b64encode(key.sign(path.read_bytes(), ec.ECDSA(hashes.SHA256()))).decode()
    path.with_name(f"{path.name}.sigstore.json").write_text(json.dumps({"messageSignature": {"signature": signature}}))


async def test_only_what_is_signed_is_loaded_and_what_served_before_serves_on(agent: Agent) -> None:
    right, wrong = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public = agent.root / "keys" / "release" / "cosign.pub"
    public.parent.mkdir(parents=True)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(right.public_key().public_bytes(serialization.Encoding.PEM, form))
    options = ("--keys-root", str(agent.root / "keys"), "--signature-policy", "Require")
    agent.start(*options)
    first, second = agent.artifact(network(1)), agent.artifact(network(2))
    for artifact, key in ((first, right), (second, wrong)):
        sign(artifact, key)
    verification = {"publicKeySecretRef": {"name": "release", "key": "cosign.pub"}}

    agent.want("digits", first)
    agent.models["digits"]["verification"] = verification
    agent.want("unsigned", agent.artifact(network(3)))
    agent.apply()
    await agent.until(
        lambda it: (
            model_of(it, "digits").get("state") == "Ready"
            and model_of(it, "unsigned").get("reason") == "SignatureInvalid"
        )
    )
    assert await agent.infer("digits") == 1
    assert not (agent.triton.repository / "unsigned").exists()

    del agent.models["unsigned"]
    agent.want("digits", second)
    agent.models["digits"]["verification"] = verification
    agent.apply()
    status = await agent.until(lambda it: model_of(it, "digits").get("reason") == "SignatureInvalid")
    assert model_of(status, "digits")["state"] == "Failed"
    assert model_of(status, "digits")["ready"]
    assert await agent.infer("digits") == 1

    # Everything starts again, and the source is gone: what served is in the cache.
    agent.kill()
    agent.triton.kill()
    shutil.rmtree(agent.triton.repository / "digits")
    agent.triton.start()
    shutil.rmtree(agent.root / "files")
    (agent.root / "files").mkdir()
    agent.start(*options)
    await agent.until(lambda it: bool(model_of(it, "digits").get("ready")))
    assert await agent.infer("digits") == 1


async def test_an_archive_is_served(agent: Agent) -> None:
    packed = agent.root / "files" / "digits.tar.gz"
    (agent.root / "files" / "digits" / "1").mkdir(parents=True)
    (agent.root / "files" / "digits" / "1" / "model.onnx").write_bytes(network(4))
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(agent.root / "files" / "digits", "digits")
    agent.start()
    agent.want("digits", {"uri": f"file://{packed}", "digest": f"sha256:{of_file(packed)}"})
    await agent.until_ready(agent.apply())
    assert await agent.infer("digits") == 4


async def test_what_is_damaged_in_the_cache_is_repaired_before_it_is_loaded(agent: Agent) -> None:
    agent.start()
    content = network(1)
    agent.want("digits", agent.artifact(content))
    revision = agent.apply()
    await agent.until_ready(revision)
    agent.kill()
    agent.triton.kill()
    cached = agent.root / "cache" / "sha256" / hashlib.sha256(content).hexdigest() / "artifact"
    cached.chmod(0o644)
    cached.write_bytes(network(9))  # another network, of the same size
    agent.triton.start()
    agent.start()
    await agent.until(lambda it: model_of(it, "digits").get("state") == "Ready")
    assert await agent.infer("digits") == 1
    assert cached.read_bytes() == content


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_is_encrypted_serves_and_its_plaintext_is_in_memory_alone(agent: Agent) -> None:
    identity = x25519.Identity.generate()
    secret = agent.root / "identities" / "release" / "identity"
    secret.parent.mkdir(parents=True)
    secret.write_text(f"{x25519.Identity.generate()}\n")
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    options = ("--identities-root", str(agent.root / "identities"), "--decrypted-root", str(memory))
    plain = [network(1), network(2)]

    def want(content: bytes) -> None:
        artifact = agent.artifact(content, "network.onnx.age")
        agent.want("digits", {**artifact, "encryption": {"identitySecretRef": {"name": "release"}}})  # type: ignore[dict-item]

    def on_disk() -> bool:
        return any(
            content in path.read_bytes()
            for path in files_below(agent.root)
            if not path.is_symlink()
            for content in plain
        )

    try:
        agent.start(*options)
        want(pyrage.encrypt(plain[0], [identity.to_public()]))
        agent.apply()
        status = await agent.until(lambda it: model_of(it, "digits").get("reason") == "DecryptionFailed")
        assert model_of(status, "digits")["state"] == "Failed"
        assert not files_below(memory)

        secret.write_text(f"{identity}\n")  # tried again
        await agent.until(lambda it: model_of(it, "digits").get("state") == "Ready")
        assert await agent.infer("digits") == 1
        assert not on_disk()

        # Cut short: what served before serves on.
        want(pyrage.encrypt(plain[1], [identity.to_public()])[:-1])
        agent.apply()
        status = await agent.until(lambda it: model_of(it, "digits").get("reason") == "DecryptionFailed")
        assert model_of(status, "digits")["ready"]
        assert await agent.infer("digits") == 1

        # A new agent and a new Triton, without the source: it is decrypted anew, out of the cache.
        agent.kill()
        agent.triton.kill()
        shutil.rmtree(agent.root / "files")
        (agent.root / "files").mkdir()
        agent.triton.start()
        agent.start(*options)
        await agent.until(lambda it: bool(model_of(it, "digits").get("ready")))
        assert await agent.infer("digits") == 1

        del agent.models["digits"]
        agent.apply()
        await agent.until(lambda it: it["models"] == [])
        agent.want("other", agent.artifact(network(3)))
        await agent.until_ready(agent.apply())  # the agent has looked at everything since
        assert not files_below(memory)
        assert not on_disk()
        log = (agent.root / "agent.log").read_text()
        assert "AGE-SECRET-KEY" not in log
    finally:
        shutil.rmtree(memory)
