"""Trains `tiny-net` in forked processes, so that Keras is imported only once.

Each line of standard input is a project's folder. It is answered by a line with the number of the
process and, when that has ended, one with its status and the problem that it reported, as JSON.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import keras  # noqa: F401

from cnn_ablations.config.params import load_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.training import loop
from cnn_ablations.training.variant import train_variant

loop.CHECKPOINT_SECONDS = 0.0


def train(root: Path) -> str:
    os.chdir(root)
    paths = Paths(root)
    try:
        train_variant(load_params(paths.params).variant("tiny-net"), paths)
    except ProjectError as error:
        return str(error)
    except BaseException:
        return traceback.format_exc()
    return ""


for line in sys.stdin:
    answer, problem = os.pipe()
    child = os.fork()
    if not child:
        said = train(Path(line.rstrip("\n")))
        os.write(problem, said.encode())
        os._exit(bool(said))
    print(child, flush=True)
    os.close(problem)
    with open(answer) as told:  # noqa: PTH123
        said = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, said]), flush=True)
