"""Littoral's quickstart: three real networks, pictures to ask them about, and a demo of both.

The networks: `networks` says which files they are, `train_digits` makes the two that are trained here.
Around them: `digits` and `examples.vision` turn pictures into tensors and outputs into answers;
`pictures` draws what is read; `client` asks a Model over KServe v2; `reading` asks for digits, text, accuracy, load.
The demo: `demo` is the command, `cluster` its way into a cluster, `setting_up` what it installs, `models` how it
waits and explains, `console` how it prints; `certificates` serves the artifact server.
"""
