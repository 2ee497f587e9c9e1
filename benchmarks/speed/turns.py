"""Contenders in processes of their own that take turns: while one runs, all others stand still.

A contender is an object whose methods (`steps`, `predict`, ...) take a number, 0 meaning a whole pass, and give a dict
with `done`, in the benchmark's unit.
"""

import json
import statistics
import subprocess
import sys
import time


def serve(contender, about=lambda what, answer: answer):
    """A contender's process: says that it is ready, then does what each line asks for.

    Args:
        contender: see above; `about` makes the dict of what a method gives, after the time was taken.
    """
    print("ready", flush=True)
    for line in sys.stdin:
        what, number = line.split()
        started, used = time.perf_counter(), time.process_time()
        answer = getattr(contender, what)(int(number))
        taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}
        print(json.dumps(about(what, answer) | taken), flush=True)


class Process:
    """A contender, spoken to through pipes.

    Args:
        words: list of str, its command, which ends in `serve`.
    """

    def __init__(self, words):
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.answer()

    def answer(self):
        """The next line that it says.

        Raises:
            RuntimeError: where it has ended.
        """
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"contender ended with code {self.process.wait()}")
        return line

    def do(self, what, number):
        """Its answer: dict with `done`, `seconds` (wall clock), `cpu_seconds` (of all its threads)."""
        print(what, number, file=self.process.stdin, flush=True)
        return json.loads(self.answer())

    def end(self):
        """Ends it; it has nothing to save, and frameworks take their time to leave."""
        self.process.kill()
        self.process.wait()


def start_all(commands):
    """dict name -> `Process` of a dict name -> words; who does not start is named on the screen and left out."""
    processes = {}
    for name, words in commands.items():
        try:
            processes[name] = Process(words)
        except RuntimeError as error:
            print(f"{name}: not measured, {error}")
    return processes


def take_turns(processes, turns, rounds, title, between=lambda: None):
    """Lets all contenders work, round by round; the first round warms up and does not count.

    Args:
        processes: dict name -> `Process`; who ends on the way is taken out, with a line on the screen.
        turns: dict name -> dict what -> number to ask for.
        rounds: that count.
        title: of the lines about progress.
        between: called at the beginning of each round.

    Returns:
        dict (name, what) -> list of `rounds` answers.
    """
    answers = {(name, what): [] for name in processes for what in turns[name]}
    for number in range(rounds + 1):
        between()
        for name, process in list(processes.items()):
            started = time.perf_counter()
            try:
                given = {what: process.do(what, size) for what, size in turns[name].items()}
            except (RuntimeError, BrokenPipeError) as error:
                print(f"{name}: not measured, it ended in round {number}, out of memory perhaps: {error}")
                del processes[name]
                continue
            for what, answer in given.items() if number else ():
                answers[name, what].append(answer)
            seconds = time.perf_counter() - started
            print(f"{title}, round {number}: {name}, {seconds:.0f} s", file=sys.stderr, flush=True)
    for process in processes.values():
        process.end()
    return {key: some for key, some in answers.items() if key[0] in processes}


def rates(answers, key="done", per="seconds"):
    """list of float, one a round."""
    return [answer[key] / answer[per] for answer in answers]


def beside_peers(rates_of, peers):
    """Each contender's median rate, as a ratio to the fastest of each kind of peers.

    Args:
        rates_of: dict name -> list of float.
        peers: beginnings of names, such as "(a)".

    Returns:
        dict name -> (median, dict peer -> ratio).
    """
    medians = {name: statistics.median(some) for name, some in rates_of.items()}
    best = {peer: max((m for name, m in medians.items() if name.startswith(peer)), default=None) for peer in peers}
    return {
        name: (median, {peer: median / most for peer, most in best.items() if most}) for name, median in medians.items()
    }


def ratio_words(ratios):
    """How tables show the ratios of `beside_peers`."""
    return "  ".join(f"{ratio:7.2f} x {peer}" for peer, ratio in ratios.items())


def processor():
    """What the machine calls its processor: its name, or family and model where that says little."""
    try:
        with open("/proc/cpuinfo") as file:
            about = dict(map(str.strip, line.split(":", 1)) for line in file.read().split("\n\n")[0].splitlines())
    except OSError:
        import platform

        return platform.processor() or platform.machine()
    flags = set(about.get("flags", "").split())
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags]
    place = f"family {about.get('cpu family', '?')} model {about.get('model', '?')}"
    return f"{about.get('model name', 'unknown')} ({place}; {' '.join(units) or 'no AVX2'})"


def missing(*modules):
    """The first of these modules that is not installed, or None."""
    import importlib.util

    return next((name for name in modules if importlib.util.find_spec(name) is None), None)
