"""The HTTP edge of preprocess: `python -m services.preprocess.app` serves it on `PORT`."""

from __future__ import annotations

from starlette.applications import Starlette

from services.preprocess import step
from services.preprocess.ocr import Ocr
from zeroidle.contracts.services import PreprocessRequest, PreprocessResponse
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.http import application, json_route, serve


def create_app() -> Starlette:
    """POST /v1/preprocess: PreprocessRequest -> PreprocessResponse."""
    objects = GoogleObjects.connect()
    ocr = Ocr()

    def preprocess(request: PreprocessRequest) -> PreprocessResponse:
        return step.preprocess(request, objects, ocr.lines)

    return application([json_route("/v1/preprocess", PreprocessRequest, preprocess)])


if __name__ == "__main__":
    serve(create_app)
