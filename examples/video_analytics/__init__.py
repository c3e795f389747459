"""An application on Littoral: where is text in a video, kept at the site and forwarded when the link allows.

`sources` gives frames, `sampling` says which of them, `analysis` asks the Model; `ring` keeps the results on disk by
`durable`, `forwarding` sends them on; `running` ties them together, `watching` answers /metrics and /healthz.
"""
