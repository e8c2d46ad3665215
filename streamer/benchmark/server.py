"""The server that `streamer bench --websocket` measures: the real one, around a timed model.

Runs in a process of its own and answers questions about its time through a pipe. A composition
root: it builds model, engine and server.
"""

import asyncio
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from streamer import assembly
from streamer.benchmark import building
from streamer.benchmark.observation import Geometry, Meters, Step, TimedModel
from streamer.benchmark.plan import Plan
from streamer.config import ConfigError
from streamer.core.recognizer import Model
from streamer.edges.websocket import ServedModel, WebSocketServer

SPARE_CONNECTIONS = 16  # of a run before, while they close


def serve(pipe: "Connection[Any, Any]", plan: Plan) -> None:
    """Build and serve what `plan` says until the pipe says None; see `remote.started`."""
    try:
        runner = building.runner(building.network(plan), plan)
        asyncio.run(_serve(pipe, plan, runner))
    except ConfigError as error:
        pipe.send(str(error))


async def _serve(pipe: "Connection[Any, Any]", plan: Plan, model: Model) -> None:
    timed = TimedModel(model)
    settings = plan.settings
    config = replace(settings.server, port=0, max_connections=plan.most_streams + SPARE_CONNECTIONS)
    # What is too much is to be measured, not refused.
    engine_config = replace(settings.engine, max_sessions=plan.most_streams, max_load=0.0)
    latency_ms = round(1000 * model.context.latency_s(model.grid))
    about = ServedModel(Path(settings.model.name).name, latency_ms)
    async with (
        assembly.build_engine(cast("Model", timed), engine_config) as engine,
        WebSocketServer(engine, settings.endpoint, config, about) as server,
    ):
        pipe.send((server.port, Geometry.of(model.context, model.grid)))
        while (question := await asyncio.to_thread(_next, pipe)) is not None:
            if question == "meters":
                pipe.send(Meters(time.thread_time(), time.process_time()))
            else:
                steps, timed.steps = timed.steps, []
                pipe.send([Step(each.begin_s, each.end_s, each.slots, ()) for each in steps])


def _next(pipe: "Connection[Any, Any]") -> Any:
    """The next question; None when the other end is gone."""
    try:
        return pipe.recv()
    except EOFError:
        return None
