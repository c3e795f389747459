"""The agent beside Triton: fetch, verify, cache, load, report.

It knows `littoral.api.serving` and nothing of any cluster: desired state is a mounted file, the report is an
HTTP answer.
"""
