"""Imports never go up or sideways: this test reads them with `ast` and fails when they do."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each part of the house may import besides itself and the standard library. The longest
# matching name counts. The composition roots (cli, evaluate's command, the library's api) may
# import all.
ALLOWED = {
    "streamer": (),
    "streamer.core": ("numpy",),
    "streamer.core.hypothesis": (),
    "streamer.schema": (),
    "streamer.collector": (),
    "streamer.logs": ("pythonjsonlogger", "streamer.config"),
    "streamer.config": (
        "streamer.core.context",
        "streamer.core.endpoint",
        "streamer.core.keywords",
        "streamer.core.options",
        "streamer.schema",
    ),
    "streamer.messages": ("streamer.core.hypothesis", "streamer.core.options"),
    "streamer.audio": ("numpy", "soxr", "streamer.core.context", "streamer.messages"),
    "streamer.wav": ("numpy", "streamer.audio", "streamer.messages"),
    "streamer.container": ("numpy", "streamer.audio", "streamer.messages"),
    "streamer.container_worker": ("av",),
    "streamer.captions": ("streamer.messages",),
    "streamer.language_model": (
        "kenlm",
        "pyctcdecode",
        "streamer.core.options",
        "streamer.core.scoring",
    ),
    "streamer.text": ("text_to_num", "streamer.core"),
    "streamer.wording": ("streamer.config", "streamer.core", "streamer.text"),
    "streamer.client_settings": (
        "streamer.messages",
        "streamer.config",
        "streamer.core",
        "streamer.engine",
    ),
    "streamer.engine": ("numpy", "streamer.core", "streamer.config"),
    "streamer.engine.runner": (
        "numpy",
        "torch",
        "streamer.core",
        "streamer.engine.acoustic",
        "streamer.engine.call",
        "streamer.engine.device",
        "streamer.engine.graphs",
        "streamer.engine.vocabulary",
    ),
    "streamer.engine.call": ("numpy", "torch", "streamer.core"),
    "streamer.engine.graphs": ("numpy", "torch", "streamer.engine.call"),
    "streamer.engine.cuda": ("torch",),
    "streamer.engine.acoustic": ("torch", "streamer.engine.device"),
    "streamer.engine.device": ("torch",),
    "streamer.engine.detector": ("numpy", "torch", "streamer.core", "streamer.engine.device"),
    "streamer.edges": (
        "numpy",
        "soundfile",
        "sounddevice",
        "websockets",
        "prometheus_client",
        "aiomqtt",
        "paho",
        "zeroconf",
        "ifaddr",
        "streamer.audio",
        "streamer.captions",
        "streamer.client_settings",
        "streamer.container",
        "streamer.wav",
        "streamer.engine",
        "streamer.messages",
        "streamer.config",
    ),
    "streamer.evaluation": (
        "numpy",
        "jiwer",
        "streamer.audio",
        "streamer.config",
        "streamer.core",
        "streamer.edges.audio_file",
        "streamer.reporting",
    ),
    "streamer.reporting": ("matplotlib",),
    "streamer.benchmark": (
        "numpy",
        "matplotlib",
        "websockets",
        "streamer.config",
        "streamer.core",
        "streamer.edges.audio_file",
        "streamer.engine",
        "streamer.messages",
        "streamer.reporting",
        "streamer.schema",
    ),
    "streamer.evaluation.manifest": (
        "numpy",
        "streamer.audio",
        "streamer.edges.audio_file",
        "models.training.manifest",  # the formats; loads no torch
    ),
    "streamer.evaluation.plots": (
        "numpy",
        "matplotlib",
        "streamer.audio",
        "streamer.core",
        "streamer.evaluation.measures",
        "streamer.evaluation.offline",
        "streamer.reporting",
    ),
    "models": ("torch", "numpy", "safetensors", "huggingface_hub", "soundfile", "soxr", "tqdm"),
    "models.benchmark": ("torch", "transformers", "models"),
    "models.training.voices": ("numpy", "soundfile", "soxr", "ttspico", "models"),
    "models.training.evaluation": ("torch", "numpy", "jiwer", "models"),
    "clients": (
        "numpy",
        "soundfile",
        "sounddevice",
        "websockets",
        "aiomqtt",
        "streamer.audio",
        "streamer.messages",
        "streamer.edges",
    ),
}
ROOTS = {
    "streamer.cli",
    "streamer.api",
    "streamer.assembly",
    "streamer.serving",
    "streamer.listening",
    "streamer.transcribing",
    "streamer.evaluation.command",
    "streamer.benchmark.building",
    "streamer.benchmark.command",
    "streamer.benchmark.server",
    "streamer.benchmark.__main__",
    "streamer.__main__",
}
# Import freely within:
WHOLE = {
    "models",
    "clients",
    "streamer.core",
    "streamer.config",
    "streamer.engine",
    "streamer.benchmark",
    "streamer.evaluation",
    "streamer.text",
    "streamer.messages",
    "streamer.reporting",
}
FORBIDDEN = {  # of the standard library: no input or output, no clock, no tasks
    "streamer.core": {
        "asyncio",
        "concurrent",
        "datetime",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "select",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
    },
    "streamer.engine.scheduler": {"asyncio", "threading", "time"},
    "models": {"asyncio", "socket"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for top in ("streamer", "models", "clients")
    for path in sorted((ROOT / top).rglob("*.py"))
    if path.name != "setup.py"  # builds the client; no part of it
}


def is_part(name: str, of: str) -> bool:
    return name == of or name.startswith(of + ".")


def imports(tree: ast.AST, *, only_at_import: bool) -> Iterator[str]:
    """Names of imported modules; `only_at_import` leaves out functions and TYPE_CHECKING blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}, line {node.lineno}"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)
        elif only_at_import and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ):
            continue
        else:
            yield from imports(node, only_at_import=only_at_import)


def own_part(name: str) -> str:
    """What a module may import freely: its layer if that is one whole, its edge, or itself."""
    for whole in WHOLE:
        if is_part(name, whole) and name not in ALLOWED:
            return whole
    return ".".join(name.split(".")[:3])


def faults(name: str) -> list[str]:
    tree = ast.parse(MODULES[name].read_text())
    imported = set(imports(tree, only_at_import=name == "streamer"))
    layer = max((layer for layer in ALLOWED if is_part(name, layer)), key=len)
    banned = {m for part, names in FORBIDDEN.items() if is_part(name, part) for m in names}
    allowed = (*ALLOWED[layer], own_part(name)) if name != "streamer" else ALLOWED[layer]
    return sorted(
        target
        for target in imported
        if not any(is_part(target, of) for of in allowed)
        and (target.split(".")[0] not in sys.stdlib_module_names or target.split(".")[0] in banned)
    )


@pytest.mark.parametrize("name", sorted(MODULES.keys() - ROOTS))
def test_imports_stay_within_the_layer(name):
    assert faults(name) == []


def test_nobody_imports_a_composition_root():
    for name in MODULES.keys() - ROOTS - {"streamer"}:
        tree = ast.parse(MODULES[name].read_text())
        targets = set(imports(tree, only_at_import=False))
        roots = (ROOTS - {"streamer.evaluation.command"}) & targets
        assert not roots or is_part(name, "clients"), (name, roots)


def test_only_the_command_line_imports_the_evaluation():
    importers = {
        name
        for name, path in MODULES.items()
        for target in imports(ast.parse(path.read_text()), only_at_import=False)
        if is_part(target, "streamer.evaluation") and not is_part(name, "streamer.evaluation")
    }
    assert importers == {"streamer.cli"}


def test_only_what_runs_on_the_device_imports_torch_in_streamer():
    importers = {
        name
        for name, path in MODULES.items()
        if is_part(name, "streamer")
        and any(
            is_part(t, "torch") for t in imports(ast.parse(path.read_text()), only_at_import=False)
        )
    }
    names = "runner", "acoustic", "call", "graphs", "cuda", "device", "detector"
    on_device = {f"streamer.engine.{name}" for name in names}
    assert importers <= on_device | ROOTS


def test_the_rules_bite():
    """Without this, a slip in the reader of imports would pass for a tidy house."""
    tree = ast.parse("import torch.nn as nn\ndef f():\n    from streamer import messages\n")
    assert set(imports(tree, only_at_import=False)) == {"torch.nn", "streamer.messages"}
    assert set(imports(tree, only_at_import=True)) == {"torch.nn"}
    assert own_part("streamer.edges.websocket.server") == "streamer.edges.websocket"
    assert own_part("streamer.core.stream") == "streamer.core"
    assert own_part("streamer.core.hypothesis") == "streamer.core.hypothesis"
    assert not is_part("streamer.corex", "streamer.core")
