"""The page's server: on loopback alone, and nothing that the page loads comes from elsewhere."""

import asyncio
import importlib
import socket
import webbrowser
from typing import Any

from ..errors import RunError
from ..infogan import InfoGAN
from .looks import CSS
from .page import explorer, gradio

__all__ = ["listening", "serve", "server"]

_LOOPBACK = "127.0.0.1"
# The browser itself refuses what is not from here. Templates of gradio are compiled in it.
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; frame-ancestors 'none'"
)
# The fonts that are here: gradio's own would be fetched.
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
# Gradio's own are too pale to read.
_INKS = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
}


def listening(port: int) -> socket.socket:
    """A socket on loopback; port 0 is any free one.

    Raises:
        RunError: for a port that cannot be had.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_LOOPBACK, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise RunError(
            "--port",
            got=f"{port}: {error}",
            expected="a free port",
            fix="Choose another, or leave it out for any free one.",
        ) from None
    return listener


def server(gan: InfoGAN, title: str) -> Any:
    """A uvicorn server of the page, to be run on the sockets of :func:`listening`.

    To be called in the event loop that it is to run in, for gradio's locks.

    Args:
        gan: a trained InfoGAN.
        title: of the page.

    Raises:
        RunError: where gradio is not installed.
        DataError: for a code that has no control.
    """
    gr = gradio()
    # Both come with gradio.
    fastapi, uvicorn = map(importlib.import_module, ("fastapi", "uvicorn"))
    trusted = importlib.import_module("starlette.middleware.trustedhost")
    app = fastapi.FastAPI()
    # Other names for this address are another site's, which would read the page.
    app.add_middleware(trusted.TrustedHostMiddleware, allowed_hosts=[_LOOPBACK, "localhost"])
    gr.mount_gradio_app(
        app,
        explorer(gan, title),
        path="/",
        server_name=_LOOPBACK,
        theme=gr.themes.Base(**_FONTS).set(**_INKS),
        css=CSS,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
    )
    headers = [("Content-Security-Policy", _POLICY)]
    # Open pages keep a connection, which is not waited for, nor its end told as an error. What
    # fails in an event gradio itself tells.
    config = uvicorn.Config(app, log_level="critical", headers=headers, timeout_graceful_shutdown=1)
    return uvicorn.Server(config)


def serve(gan: InfoGAN, title: str, port: int = 0, browser: bool = True) -> None:
    """Serve the page until Ctrl-C.

    Args:
        gan: a trained InfoGAN.
        title: of the page.
        port: on loopback; 0 is any free one.
        browser: whether to open it in the user's browser.

    Raises:
        RunError: where gradio is not installed, or for a port that cannot be had.
        DataError: for a code that has no control.
    """
    with listening(port) as listener:
        asyncio.run(_serving(gan, title, listener, browser))


async def _serving(gan: InfoGAN, title: str, listener: socket.socket, browser: bool) -> None:
    ready = server(gan, title)
    address = f"http://{_LOOPBACK}:{listener.getsockname()[1]}/"
    print(f"{title}: {address}, until Ctrl-C", flush=True)
    if browser:
        webbrowser.open(address)
    await ready.serve(sockets=[listener])
