"""`python -m examples.image_recognition`: run the service."""

from __future__ import annotations

import logging

import click
from aiohttp import web

from .service import Service, Settings

_EPILOG = """
Examples:

\b
  In a cluster with the quickstart:
    python -m examples.image_recognition
  Through a tunnel to each Model (kubectl port-forward --namespace shop service/text-detect 8081:80, ...):
    python -m examples.image_recognition --text-detect http://127.0.0.1:8081 \\
        --text-recognize http://127.0.0.1:8082 --digits http://127.0.0.1:8083
  Ask it:
    curl --data-binary @receipt.png 'http://127.0.0.1:8080/v1/recognize?read=text'
"""


@click.command(
    epilog=_EPILOG,
    context_settings={"show_default": True, "max_content_width": 110, "auto_envvar_prefix": "IMAGE_RECOGNITION"},
)
@click.option("--text-detect", default=Settings.text_detect, help="Address of the Model text-detect, up to /v2.")
@click.option("--text-recognize", default=Settings.text_recognize, help="Address of the Model text-recognize.")
@click.option("--digits", default=Settings.digits, help="Address of the Model digits.")
@click.option("--namespace", help="Namespace to name the Models by, where an address is that of a tunnel to a gateway.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8080, help="Port to listen on.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=Settings.timeout,
    help="Seconds for a request to a Model.",
)
@click.option("--max-bytes", type=click.IntRange(1), default=Settings.max_bytes, help="Largest picture, in bytes.")
@click.option("--max-pixels", type=click.IntRange(1), default=Settings.max_pixels, help="Largest picture, in pixels.")
@click.option("--at-once", type=click.IntRange(1), default=Settings.at_once, help="Pictures read at the same time.")
@click.option("--waiting", type=click.IntRange(0), default=Settings.waiting, help="Pictures that may wait.")
def main(*, host: str, port: int, **settings: object) -> None:
    """Serve a web page and an API that read the text and the digits in pictures, by Models on Littoral."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    service = Service(Settings(**settings))  # type: ignore[arg-type]  # click has the types
    web.run_app(service.application(), host=host, port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
