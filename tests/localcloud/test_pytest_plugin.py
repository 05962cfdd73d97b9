"""Does the pytest plugin do what its documentation says, in a project of its own?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localcloud import environment

pytest_plugins = ["pytester"]

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "local-cloud.md"


def documented() -> tuple[str, str]:
    """The conftest and the tests that the documentation shows."""
    section = DOCUMENTATION.read_text().partition("**From pytest.**")[2].partition("**In a browser.**")[0]
    conftest, tests = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return conftest, tests


def test_the_documented_example_passes_in_parallel(pytester: pytest.Pytester):
    conftest, tests = documented()
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)

    pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider", "-n", "2").assert_outcomes(passed=5)


def test_a_test_leaves_nothing_and_one_without_a_cloud_pays_nothing(pytester: pytest.Pytester):
    pytester.makeconftest("pytest_plugins = ['localcloud.pytest_plugin']")
    pytester.makepyfile("""
        import os, socket, sys, threading
        import pytest
        from localcloud import environment

        BEFORE = {name: os.environ.get(name) for name in environment.names()}
        seen = []

        def test_without_a_cloud():
            assert not {"localcloud.cloud", "grpc", "google.auth", "starlette"} & sys.modules.keys()

        @pytest.mark.localcloud(frozen=True)
        def test_with_a_wrong_setting(localcloud):
            pass

        def test_with_a_cloud(localcloud):
            seen.append(localcloud.cloud)
            assert os.environ["STORAGE_EMULATOR_HOST"] == localcloud.cloud.http_url
            assert os.environ["CLOUDSDK_PROXY_PORT"] == localcloud.cloud.http_url.rpartition(":")[2]

        def test_after_it():
            assert {name: os.environ.get(name) for name in environment.names()} == BEFORE
            assert "localcloud" not in {thread.name for thread in threading.enumerate()}
            assert not seen[0].context.store.directory.exists()
            host, port = seen[0].http_url.removeprefix("http://").split(":")
            with socket.socket() as free:
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind((host, int(port)))
    """)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*localcloud has no 'frozen'; expected some of: project,*frozen_clock*"])


def test_what_is_wrong_is_said_with_what_would_be_right(pytester: pytest.Pytester):
    pytester.makeconftest("pytest_plugins = ['localcloud.pytest_plugin']")
    pytester.makepyfile(r"""
        import pytest

        @pytest.mark.localcloud("elsewhere")
        def test_a_setting_without_a_name(localcloud):
            pass

        def test_the_rest(localcloud):
            with pytest.raises(TypeError, match=r"has no 'bucket'; expected some of: buckets, topics"):
                localcloud.deploy(bucket=("uploads",))
            with pytest.raises(TypeError, match=r"buckets is 'uploads'; expected a tuple: buckets=\('uploads',\)"):
                localcloud.deploy(buckets="uploads")
            with pytest.raises(TypeError, match=r"got <class 'dict'>; expected a class such as google"):
                localcloud.client(dict)
    """)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*localcloud takes settings by their names only*"])


def test_all_variables_have_names():
    assert len(environment.names()) == len(set(environment.names()))
    assert set(environment.names()) >= {"STORAGE_EMULATOR_HOST", "CLOUDSDK_CONFIG"}
