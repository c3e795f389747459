"""What is loaded, and what is not, when artifacts are packed, signed or damaged: seen from Triton's answers."""

import base64
import hashlib
import json
import shutil
import tarfile
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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
