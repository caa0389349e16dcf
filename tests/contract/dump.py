"""Run in a process of its own: prints what a TensorRT module has, as JSON. Arguments: module, classes, enums."""

import importlib
import json
import sys

module = importlib.import_module(sys.argv[1])
classes, enums = sys.argv[2].split(","), sys.argv[3].split(",")


class Logger(module.ILogger):
    def __init__(self) -> None:
        module.ILogger.__init__(self)

    def log(self, severity: object, message: str) -> None:
        pass


class Monitor(module.IProgressMonitor):
    def __init__(self) -> None:
        module.IProgressMonitor.__init__(self)

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        pass

    def step_complete(self, phase_name: str, step: int) -> bool:
        return True

    def phase_finish(self, phase_name: str) -> None:
        pass


Logger(), Monitor()  # both can be subclassed and made
found = {name: getattr(module, name) for name in (*classes, *enums) if hasattr(module, name)}
print(
    json.dumps(
        {
            "version": module.__version__,
            "classes": {
                name: {
                    attribute: getattr(getattr(found[name], attribute), "__doc__", None) or ""
                    for attribute in dir(found[name])
                }
                for name in classes
                if name in found
            },
            "properties": {
                name: [a for a in dir(found[name]) if not callable(getattr(found[name], a))]
                for name in classes
                if name in found
            },
            "enums": {name: list(found[name].__members__) for name in enums if name in found},
            "numbers": {
                "STRONGLY_TYPED": int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
                "severities": [int(getattr(module.ILogger, n)) for n in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO")],
            },
        }
    )
)
