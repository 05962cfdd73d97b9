"""The HTTP edge of postprocess: `python -m services.postprocess.app` serves it on `PORT`."""

from __future__ import annotations

import time

from starlette.applications import Starlette

from services.postprocess import step
from zeroidle.contracts.services import PostprocessRequest, PostprocessResponse
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.http import application, json_route, serve


def create_app() -> Starlette:
    """POST /v1/postprocess: PostprocessRequest -> PostprocessResponse."""
    objects = GoogleObjects.connect()

    def postprocess(request: PostprocessRequest) -> PostprocessResponse:
        return step.postprocess(request, objects, now=time.time)

    return application([json_route("/v1/postprocess", PostprocessRequest, postprocess)])


if __name__ == "__main__":
    serve(create_app)
