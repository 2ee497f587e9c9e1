"""TensorFlow without its greetings.

TensorFlow 2.21 writes lines about CPU features and absent GPUs to standard error while it is imported, before any of
its log settings take effect. Scripts promise one line there for bad input, so these lines are held back, and shown only
where the import itself fails.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile


def quiet_tensorflow():
    """From here on, importing TensorFlow is silent, whoever does it first; its warnings from C++ stay off.

    Does nothing where TensorFlow is already loaded. `TF_CPP_MIN_LOG_LEVEL` in the environment wins.
    """
    # 2 hides information and warnings; 3 also the error about a GPU driver, which is none where there is no GPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if os.path.exists("/dev/nvidiactl") else "3")
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds TensorFlow as Python would, with a loader that holds standard error back; steps aside for all else."""

    def find_spec(self, name, path=None, target=None):
        """The module's spec, or None: the next finder's turn."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)  # one import is all that is ours, and the next line must find the real one
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_quietly(module):
                with stderr_held_back():
                    load(module)

            spec.loader.exec_module = load_quietly
        return spec


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
