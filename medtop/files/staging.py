"""Outputs of a preprocessing run: made in a hidden folder, then moved to their names together, the manifest last.

A killed run leaves nothing under a final name, except when it dies while moving: then each file that stands there is
whole, the manifest is missing, and the hidden folder's list tells the next run that these files are its own.
"""

import contextlib
import os
import shutil
import typing
from pathlib import Path

from medtop.files.atomic import sha256, write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.locks import PRIVATE_FILE, PRIVATE_FOLDER, hold, is_at, make_own_folder, open_own
from medtop.files.temporary import temporary_folder

_MOVING = "moving.json"
_NAMES = ("lock", "work", _MOVING)


class Outcome(typing.NamedTuple):
    """What a run did.

    Attributes:
        manifest: dict, as it stands under the prefix.
        done_before: whether the same run had been done already, so that nothing was touched.
    """

    manifest: dict
    done_before: bool = False


def run_once(prefix, settings, outputs, make, *, overwrite=False, dry_run=False):
    """Makes the outputs of a run, all together, unless the very same run has been done before.

    Args:
        prefix: beginning of the outputs' names, with their folder.
        settings: dict of plain values: what determines the outputs, beside the content of the inputs.
        outputs: names of everything that may stand under the prefix (see `output_path`), manifest.json last.
        make: function (folder, write) -> manifest. It makes the outputs at their `made_path` in the folder; without
            `write` it makes none. Its manifest has `settings`, and `inputs`: dict path -> `fingerprint` of every file
            that was read. `outputs` (name -> bytes) and `sha256` (name -> checksum) are added here, and the manifest is
            written here.
        overwrite: replace outputs of other settings, other inputs, or unknown origin.
        dry_run: write nothing.

    Returns:
        `Outcome`.

    Raises:
        DataError: for outputs of another run, or another process at work on the same prefix.
    """
    if dry_run:
        with temporary_folder() as folder:
            return Outcome(make(folder, False))
    manifest, differences = earlier_run(prefix, settings)
    if manifest is not None and not differences and not overwrite:
        clear_left(prefix)
        return Outcome(manifest, done_before=True)
    if differences and not overwrite:
        raise DataError(
            f"{output_path(prefix, 'manifest.json')}: expected the settings and files of the earlier run, received "
            f"others ({'; '.join(differences)}); use --overwrite or another prefix"
        )
    with staging(prefix) as work:
        if manifest is None:
            check_free(prefix, overwrite, outputs)
        manifest = make(work, True)
        made = [name for name in outputs if made_path(work, name).exists()]
        manifest["outputs"] = {name: made_path(work, name).stat().st_size for name in made}
        manifest["sha256"] = {name: sha256(made_path(work, name)) for name in made}
        write_json(made_path(work, "manifest.json"), manifest)
        publish(prefix, work, outputs)
    return Outcome(manifest)


def output_path(prefix, name):
    """`<prefix>.<name>`; a name that begins with a slash stands in the folder `<prefix>/`."""
    return Path(f"{prefix}{name}" if name.startswith("/") else f"{prefix}.{name}")


def made_path(work, name):
    """Where an output is made before it is moved to `output_path`: `out.<name>` in the folder `work`."""
    return work / f"out.{name.replace('/', 'folder.')}"


def _folder(prefix):
    prefix = Path(prefix)
    return prefix.parent / f".{prefix.name}.preprocess"


def fingerprint(path, by_content=False):
    """What tells whether a file is still the same: size and time of change, or SHA-256 of its content."""
    status = Path(path).stat()
    return {"size": status.st_size, **({"sha256": sha256(path)} if by_content else {"changed": status.st_mtime_ns})}


def check_whole(path, digest=None):
    """Refuses an output whose content is not the one that the manifest beside it tells of.

    Args:
        path: an output of a preprocessing run, or any other file: without a manifest beside it nothing is checked.
        digest: its SHA-256, if known already.

    Raises:
        DataError.
    """
    expected = _recorded(Path(path))
    if expected is not None and (digest or sha256(path)) != expected:
        raise DataError(
            f"{path}: expected the content that its manifest tells of (SHA-256 {expected[:12]}...), received another: "
            "the file was damaged or changed; make it again, or move it away from the manifest"
        )


def _recorded(path):
    """The checksum that a manifest beside `path`, or beside its folder, holds for it; None without one."""
    pieces = path.name.split(".")
    places = [(f"{path.parent}.manifest.json", f"/{path.name}")]
    for number in range(1, len(pieces)):
        prefix = path.with_name(".".join(pieces[:number]))
        places.append((f"{prefix}.manifest.json", ".".join(pieces[number:])))
    for manifest, name in places:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no manifest, or another program's
            if recorded := read_json(manifest).get("sha256", {}).get(name):
                return str(recorded)  # of a damaged manifest: no digest, so that nothing agrees with it
    return None


def earlier_run(prefix, settings):
    """Compares the manifest under `prefix`, if there is one, with this run's settings.

    Returns:
        (manifest or None, list of differences as sentences). Both empty: nothing stands there. A manifest without
        differences: the same run has been done.
    """
    path = output_path(prefix, "manifest.json")
    if not path.is_file():
        return None, []
    try:
        manifest = read_json(path)
        before = manifest["settings"]
        differences = [
            f"{name} {before.get(name)!r} -> {settings.get(name)!r}"
            for name in sorted(before.keys() | settings.keys())
            if before.get(name) != settings.get(name)
        ]
        differences += [f"{file} has changed" for file, known in manifest["inputs"].items() if _changed(file, known)]
        differences += [
            f"{name} is missing or has changed"
            for name, size in manifest["outputs"].items()
            if _differs(output_path(prefix, name), size, manifest.get("sha256", {}).get(name))
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, ["its manifest is damaged or from another version"]
    return manifest, differences


def _differs(path, size, digest):
    return not path.is_file() or path.stat().st_size != size or (digest is not None and sha256(path) != digest)


def _changed(file, known):
    return not Path(file).is_file() or fingerprint(file, "sha256" in known) != known


def lock(file, prefix):
    """Locks an open file for this process until it ends; a `DataError` where another one has it."""
    if not hold(file):
        raise DataError(f"{prefix}: expected no other run on this prefix, found one that is still writing")


@contextlib.contextmanager
def staging(prefix):
    """Yields an empty hidden folder beside the outputs, for this process alone; it is removed at the end.

    Raises:
        DataError: when another running process is writing this prefix, or the folder is not ours.
    """
    folder = _folder(prefix)
    make_own_folder(folder, _NAMES)
    with open_own(folder / "lock") as lock_file:
        lock(lock_file, prefix)
        if not is_at(lock_file.fileno(), folder / "lock"):  # the one that held it has just ended and removed it
            raise DataError(f"{prefix}: expected no other run on this prefix, found one that has just ended")
        for entry in folder.iterdir():  # what a killed run has left
            if entry.name not in ("lock", _MOVING):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        work = folder / "work"
        work.mkdir(PRIVATE_FOLDER)
        try:
            yield work
        finally:
            shutil.rmtree(work)
            if not (folder / _MOVING).exists():
                shutil.rmtree(folder)


def clear_left(prefix):
    """Removes what a run left that was killed after its outputs stood whole; a run still going keeps its folder."""
    folder = _folder(prefix)
    if not folder.exists() and not folder.is_symlink():
        return
    make_own_folder(folder, _NAMES)
    with open_own(folder / "lock") as lock_file:
        if hold(lock_file):  # otherwise another process is at work here
            shutil.rmtree(folder)


def is_at_work(prefix):
    """Whether a run on a prefix is under way, or was killed."""
    return _folder(prefix).exists()


def check_free(prefix, overwrite, outputs):
    """Refuses to replace files that no manifest claims, unless a killed run was moving them here, or `overwrite`."""
    moving = _folder(prefix) / _MOVING
    own = read_json(moving) if moving.is_file() else []
    strange = [output_path(prefix, name) for name in outputs if output_path(prefix, name).exists() and name not in own]
    if strange and not overwrite:
        raise DataError(
            f"{strange[0]}: expected no such file, found one that no manifest claims; "
            "choose another prefix or use --overwrite"
        )


def publish(prefix, work, outputs):
    """Moves the outputs in `work` (at their `made_path`) to their names.

    Earlier outputs that this run did not make again are removed, so that no file of another run stays among them.
    """
    made = [name for name in outputs if made_path(work, name).exists()]
    moving = _folder(prefix) / _MOVING
    write_json(work / _MOVING, made)  # not beside the lock: a run killed here would leave a strange file there
    os.replace(work / _MOVING, moving)
    output_path(prefix, "manifest.json").unlink(missing_ok=True)
    for name in outputs:
        path = output_path(prefix, name)
        if name in made:
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(PRIVATE_FOLDER)
            made_path(work, name).chmod(PRIVATE_FILE)  # patients are in it
            os.replace(made_path(work, name), path)
        else:
            path.unlink(missing_ok=True)
    moving.unlink()
