import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lib import cage as cages  # noqa: E402
from lib import netns  # noqa: E402
from lib.origin import Authority, Origin  # noqa: E402
from lib.sniffer import Sniffer  # noqa: E402


# Whoever starts the tests in the background ignores these, and every command below would inherit that.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_sessionstart(session):
    # A run that is told to end takes its namespaces down like one that is interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    netns.sweep_stale()
    netns.enter_private_run()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that could not run has proven nothing: it fails."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, hence not proven: {report.longrepr}"


@pytest.fixture
def world():
    with netns.World() as made:
        yield made


@pytest.fixture(scope="session")
def authority():
    with netns.state_directory("authority") as directory:
        yield Authority(directory)


@pytest.fixture
def origin(world, authority):
    return Origin(world, authority)


@pytest.fixture(params=["allowlist", "blocklist"])
def mode(request):
    return request.param


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request):
    return request.param


@pytest.fixture
def unstarted_cage(world, origin, mode):
    made = cages.Cage(world, mode)
    yield made
    made.end()


@pytest.fixture
def cage(unstarted_cage):
    return unstarted_cage.start()


@pytest.fixture
def sniffer(world):
    with Sniffer(world) as recording:
        yield recording
