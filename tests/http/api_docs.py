"""Writes docs/api.md anew: `python -m tests.http.api_docs`."""

from pathlib import Path

from huajuan.http.app import ROUTES
from huajuan.http.openapi.api_markdown import render_api
from huajuan.http.routes.route import with_account_ids
from tests.http.document import document

API_MD = Path(__file__).parents[2] / "docs" / "api.md"


def rendered() -> str:
    access = {
        (method, route.path): route.access.value
        for route in with_account_ids(ROUTES)
        for method in route.methods.split()
    }
    return render_api(document(), access)


if __name__ == "__main__":
    API_MD.write_text(rendered(), "utf-8")
