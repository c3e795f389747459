"""What can go wrong between the agent and HAProxy."""


class HaproxyError(Exception):
    """HAProxy does not answer, or refused a command; the message is shown to people."""
