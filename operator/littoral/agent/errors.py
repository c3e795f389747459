"""What can go wrong between an artifact and a model that answers. Messages end up in a Model's status: they
say what to do."""


class AgentError(Exception):
    """A failure that concerns one model and is retried; the message is shown to people."""


class ArtifactError(AgentError):
    """The artifact is not what was asked for, or not something that the agent fetches."""


class SignatureError(ArtifactError):
    """The artifact is not signed by whom it must be."""


class DecryptionError(ArtifactError):
    """The artifact is encrypted, and cannot be decrypted here."""


class FetchError(AgentError):
    """The artifact could not be brought here (yet)."""


class NotFound(FetchError):
    """The source answers, and says that it has no such thing."""


class LoadError(AgentError):
    """Triton answered that it does not load the model."""


class TritonError(AgentError):
    """Triton does not answer: it starts, has crashed or is gone."""
