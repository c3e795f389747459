"""The agent beside a gateway's HAProxy: it turns routes into runtime changes, and counts what was asked.

It holds no connection of a client. Killed, it leaves HAProxy serving as it was.
"""
