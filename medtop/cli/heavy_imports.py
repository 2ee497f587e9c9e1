"""How scripts load TensorFlow and Keras: without greetings, in half the time, and with oneDNN on every x86 processor.

TensorFlow 2.21 writes lines about CPU features and absent GPUs to standard error while it is imported, before any of
its log settings take effect. Scripts promise one line there for bad input, so these lines are held back, and shown only
where the import itself fails.

Both load some three thousand modules. Meanwhile Python's collector looks for garbage again and again among objects that
all stay, and Keras 3.15 loads matplotlib, pandas and scikit-learn where they are installed, for functions that no
script calls: together half of the time that a script takes to start.

TensorFlow 2.21 computes with oneDNN, but by itself only on processors with instructions for neural networks (VNNI,
AMX). On others (AMD's before 2022, Intel's before 2019) a training step takes up to twice as long without
(docs/speed.md).
"""

import contextlib
import gc
import importlib.util
import os
import platform
import sys
import tempfile

_UNUSED_BY_KERAS = ("matplotlib", "pandas", "sklearn")
"""What Keras does without where it is absent: pictures of images, arrays from data frames, wrappers for pipelines."""


def prepare_imports():
    """From here on, importing TensorFlow or Keras is silent and quick, whoever does it first; TensorFlow uses oneDNN.

    TensorFlow's warnings from C++ stay off afterwards. `TF_CPP_MIN_LOG_LEVEL` and `TF_ENABLE_ONEDNN_OPTS` in the
    environment win. What is already loaded stays as it is.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # 2 hides information and warnings; 3 also the error about a GPU driver, which is none where there is no GPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if os.path.exists("/dev/nvidiactl") else "3")
    around = {"tensorflow": _silent_and_quick, "keras": quick_import}
    ahead = {name: context for name, context in around.items() if name not in sys.modules}
    if ahead and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(ahead))


class _Finder:
    """Finds the packages as Python would, with a loader that works within a context; steps aside for all else.

    Args:
        around: dict package -> function that makes its context.
    """

    def __init__(self, around):
        self.around = around

    def find_spec(self, name, path=None, target=None):
        """The module's spec, or None: the next finder's turn."""
        context = self.around.pop(name, None)  # one import is all that is ours, and the search below finds the real one
        if context is None:
            return None
        if not self.around:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_within(module):
                with context():
                    load(module)

            spec.loader.exec_module = load_within
        return spec


@contextlib.contextmanager
def _silent_and_quick():
    with stderr_held_back(), quick_import():
        yield


@contextlib.contextmanager
def quick_import():
    """Loads what the block imports without looking for garbage, and lets Keras find nothing of what it does not need.

    Afterwards each of these packages can be imported as ever, and the collector looks at what is made from now on: what
    is there stays to the end. One such block may stand in another.
    """
    collects = gc.isenabled()
    absent = [name for name in _UNUSED_BY_KERAS if name not in sys.modules]
    gc.disable()
    sys.modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        if collects:
            gc.freeze()
            gc.enable()


@contextlib.contextmanager
def stderr_held_back():
    """Holds back what is written to file descriptor 2, by C++ too; writes it after all when the block raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
