"""Signs of life of a flow run, and the automation that marks a run of ours as crashed when they stop.

Prefect's own heartbeat comes every 180 seconds unless a setting of the process says otherwise, and it is the same for
everybody's flows. So our flows send an event of their own, wherever they run, and the automation listens for that one:
it knows nothing of other flows, whatever their names.
"""

import contextlib
import json
from collections.abc import Iterator
from contextvars import copy_context
from importlib.resources import files
from threading import Event, Thread

from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events import emit_event

HEARTBEAT = "millrace.flow-run.heartbeat"
HEARTBEAT_EVERY_S = 30.0


@contextlib.contextmanager
def signs_of_life() -> Iterator[None]:
    """Send `HEARTBEAT` of the flow run that this is called in every `HEARTBEAT_EVERY_S` until the block ends.

    From a thread, so that work that holds the event loop does not silence it.
    """
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{context.flow_run.id}",
        "prefect.resource.name": context.flow_run.name,
    }
    over = Event()

    def beat() -> None:
        emit_event(HEARTBEAT, resource=resource)
        while not over.wait(HEARTBEAT_EVERY_S):
            emit_event(HEARTBEAT, resource=resource)

    # The context tells Prefect which server, and which flow and deployment the event is related to.
    Thread(target=copy_context().run, args=(beat,), name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def zombie_automation() -> AutomationCore:
    """The automation of `configs/automations.json`."""
    text = files("millrace.configs").joinpath("automations.json").read_text("utf-8")
    return AutomationCore.model_validate(json.loads(text))


def create_zombie_automation() -> None:
    """Have Prefect mark runs of ours as crashed whose process has gone silent.

    There is one of its name afterwards, as this version wants it: what an earlier version made is replaced, and one
    that somebody has switched off stays off.
    """
    wanted = zombie_automation()
    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(wanted.name):
            client.create_automation(wanted)
        # Read again: of two that were started at once each may have made one, and both must keep the same.
        first, *others = sorted(client.read_automations_by_name(wanted.name), key=lambda found: found.id)
        for other in others:
            client.delete_automation(other.id)
        if _what_it_does(first) != _what_it_does(wanted):
            values = wanted.model_dump(exclude={"owner_resource"}) | {"enabled": first.enabled}
            client.update_automation(first.id, AutomationCore(**values))


def _what_it_does(automation: AutomationCore) -> object:
    return automation.model_dump(include={"description", "trigger", "actions"})
