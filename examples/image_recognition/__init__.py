"""An application on Littoral: a web page and an HTTP API that read the text and the digits in pictures.

`recognition` asks the Models, `service` answers over HTTP, `problems` says what went wrong, `python -m` runs it.
"""
