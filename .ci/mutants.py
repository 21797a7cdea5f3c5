#!/usr/bin/env python3
"""Takes each mechanism of docs/ancestors.md out, and sees whether a test that its row names fails.

    mutants.py                   all mutations of mutants.toml, and exits 1 unless each is caught
    mutants.py ROW...            those of some rows, for example: mutants.py A1 FD17 "lost move"
    mutants.py --sample N        those of N rows drawn by --seed TEXT (the commit, if not said otherwise)
    mutants.py --list            the mutations, and the tests of the page that no mutation needs; runs nothing
    mutants.py --check           nothing is built: the page, the table and the sources must fit together

A mutation changes one piece of text in a copy of the tree, in which tracked files and new ones are as they lie here. Only the
test binary it needs is built, and only the named tests are run, each in a process of its own. It is

  caught          every test named fails, or hangs
  SURVIVED        one of them passes
  does not apply  its text does not stand exactly once in its file
  does not build  a fault of the table, which proves nothing

Before that the same tests must pass on what was not changed. The copy and what is built are kept for the next run, in
`ci-mutants` below CARGO_TARGET_DIR or `target`; --work names another folder. --why adds what a test said when it failed.
"""

import argparse
import collections
import ctypes
import errno
import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(".ci", "mutants.toml")
PAGE = os.path.join("docs", "ancestors.md")

BUILD_LIMIT = 600                   # seconds for one build
FIRST_LIMIT = 120                   # for a test on what was not changed
# For one on what was: a machine that is busy may slow it down, and one that hangs is waited for in vain.
AGAIN_LIMIT, AGAIN_TIMES = 10, 4
# In the copy nobody waits for long for what was taken out: {file: (how long, and how long there)}
PATIENCE = {
    "src/conformance/bench.rs": ("PATIENCE: Duration = Duration::from_secs(60);", "PATIENCE: Duration = Duration::from_secs(5);"),
    "tests/forked_loops.rs": ("libc::alarm(120)", "libc::alarm(20)"),
}
# A case does so for each trigger.
BY_LIMIT = 60
NEEDED = {"rows", "what", "file", "text", "becomes", "target", "tests"}
ALLOWED = NEEDED | {"by", "backend", "limit"}


class Failed(Exception):
    pass


class Mutant:
    """One entry of the table."""

    def __init__(self, entry):
        for key, value in entry.items():
            setattr(self, key, value)
        # A test that is no test function of its own (a case of `conformance`, a part of a fork's test) is run by another.
        self.by = entry.get("by")
        self.backend = entry.get("backend")
        self.limit = entry.get("limit", BY_LIMIT if self.by else 0)

    def runs(self):
        """What is to be run: (target, test function, backend)."""
        return [(self.target, self.by or test, self.backend) for test in self.tests]

    def is_about_io_uring(self):
        return self.backend == "io-uring" or self.file.startswith("src/backend/uring/")

    def name(self):
        return f"{', '.join(self.rows)}: {self.what}"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def page_rows():
    """{row: the tests it names}, as tests/house.rs reads the page."""
    rows = {}
    for line in read(PAGE).splitlines():
        if not line.startswith("| "):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] not in ("row", "fault") and len(cells) in (3, 5):
            rows[cells[0]] = re.findall(r"`(\w+)`", cells[3 if len(cells) == 5 else 2])
    return rows


def load():
    """The mutations, and {row: why nothing can be taken out}."""
    try:
        table = tomllib.loads(read(TABLE))
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"{TABLE}: {error}") from None
    faults = [f"{key} is not known" for key in table if key not in ("mutant", "nothing")]
    for entry in table.get("mutant", []):
        name = entry.get("what", entry.get("text", "?"))
        faults += [f"{name}: no `{key}`" for key in sorted(NEEDED - set(entry))]
        faults += [f"{name}: `{key}` is not known" for key in sorted(set(entry) - ALLOWED)]
    if faults:
        raise Failed("\n        ".join([f"{TABLE}:", *faults]))
    return [Mutant(e) for e in table.get("mutant", [])], {e["row"]: e["why"] for e in table.get("nothing", [])}


def last(test):
    """A test's own name, without its modules."""
    return test.rsplit("::", 1)[-1]


def occurrences(mutant):
    try:
        return read(mutant.file).count(mutant.text)
    except OSError:
        return 0


def sources(target, files):
    """The files that a target's tests stand in."""
    if target in ("lib", "loom"):
        return [path for path in files if path.startswith("src/")]
    heads = (f"tests/{target}.rs", f"tests/{target}/")
    return [path for path in files if path.startswith(heads)]


def check(mutants, nothing):
    """Faults of the table, without a build."""
    rows, files, faults, seen = page_rows(), tree_files(), [], set()
    functions = {}
    for mutant in mutants:
        def fault(text):
            faults.append(f"{mutant.name()}: {text}")
        if (count := occurrences(mutant)) != 1:
            fault(f"does not apply: its text stands {count} times in {mutant.file}")
        change = (mutant.file, mutant.text, mutant.becomes, mutant.target)
        if mutant.text == mutant.becomes or change in seen:
            fault("changes nothing" if mutant.text == mutant.becomes else "is there twice")
        seen.add(change)
        if mutant.target not in functions:
            text = "".join(read(path) for path in sources(mutant.target, files))
            functions[mutant.target] = set(re.findall(r"\bfn (\w+)\(", text))
        for test in [*mutant.tests, *filter(None, [mutant.by])]:
            if last(test) not in functions[mutant.target]:
                fault(f"{mutant.target} has no test {test}")
        named = {row: rows.get(row, []) for row in mutant.rows}
        for row, tests in named.items():
            if row not in rows:
                fault(f"{PAGE} has no row {row}")
            elif not any(last(test) in tests for test in mutant.tests):
                fault(f"none of its tests stands in the row {row} of {PAGE}")
        for test in mutant.tests:
            if not any(last(test) in tests for tests in named.values()):
                fault(f"{test} stands in none of its rows in {PAGE}")
    for path, (long, _) in PATIENCE.items():
        if read(path).count(long) != 1:
            faults.append(f"{path} does not say once: {long}")
    proved = {row for mutant in mutants for row in mutant.rows}
    for row in rows:
        if row not in proved and row not in nothing:
            faults.append(f"{row}: neither a mutation nor a reason why there is none")
    for row in nothing:
        if row not in rows or row in proved:
            faults.append(f"{row}: the page has no such row" if row not in rows else f"{row}: a reason, and a mutation")
    return faults


def unneeded(mutants):
    """{row: the tests that no mutation of it needs}"""
    left = {}
    for row, tests in page_rows().items():
        needed = {last(test) for mutant in mutants if row in mutant.rows for test in mutant.tests}
        if rest := [test for test in tests if test not in needed]:
            left[row] = rest
    return left


def tree_files():
    out = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=True,
    ).stdout.decode()
    return sorted({path for path in out.split("\0") if path and os.path.isfile(os.path.join(ROOT, path))})


def copy_tree(to):
    """Makes the copy like the tree; what is like it already keeps its time, so that nothing is built for it."""
    files = tree_files()
    for path in files:
        source, target = os.path.join(ROOT, path), os.path.join(to, path)
        with open(source, "rb") as file:
            wanted = file.read()
        if path in PATIENCE:
            wanted = wanted.replace(*(text.encode() for text in PATIENCE[path]))
        try:
            with open(target, "rb") as file:
                if file.read() == wanted:
                    continue
        except OSError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(wanted)
        shutil.copymode(source, target)
    wanted = set(files)
    for folder, _, names in os.walk(to):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.relpath(path, to) not in wanted:
                os.remove(path)


class Bench:
    """The copy, and what was built of it."""

    def __init__(self, work):
        self.tree, self.work = os.path.join(work, "tree"), work
        os.makedirs(self.tree, exist_ok=True)
        self.lock = open(os.path.join(work, "lock"), "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed(f"another run works in {work}") from None
        copy_tree(self.tree)

    def build(self, target):
        """Builds the test binary. Returns its path, and an error if there is none."""
        env = {name: value for name, value in os.environ.items()
               if not name.startswith("CARGO_PROFILE_") and name not in ("CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET")}
        env |= {"CARGO_INCREMENTAL": "1", "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_RELEASE_LTO": "off",
                "RUSTFLAGS": "", "CARGO_TERM_COLOR": "never"}
        env["CARGO_TARGET_DIR"] = os.path.join(self.work, "loom" if target == "loom" else "build")
        command = ["cargo", "test", "--no-run", "--locked", "--message-format", "json-render-diagnostics"]
        if target == "loom":
            env["RUSTFLAGS"] = "--cfg loom"
            command += ["--release", "--lib"]
        else:
            command += ["--all-features", *(["--lib"] if target == "lib" else ["--test", target])]
        code, out, said = run(command, self.tree, env, BUILD_LIMIT)
        if code is None:
            return None, f"the build is not done after {BUILD_LIMIT} s"
        if code != 0:
            errors = [line for line in said.splitlines() if line.startswith("error")]
            return None, (errors or said.splitlines() or ["no word"])[0]
        found = [m["executable"] for m in map(json.loads, out.splitlines()) if m.get("executable")]
        return found[-1], None

    def read(self, path):
        try:
            with open(os.path.join(self.tree, path), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def change(self, path, text):
        with open(os.path.join(self.tree, path), "w", encoding="utf-8") as file:
            file.write(text)


def run(command, folder, env, limit):
    """Runs a command in a process group of its own: its exit code, `None` if it was stopped, and its output."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=said,
                                 start_new_session=True)
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        texts = []
        for file in (out, said):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return code, *texts


def full_name(program, folder, test):
    """The name of the one test function that is called so, with its modules."""
    listed = subprocess.run([program, "--list", "--format", "terse"], cwd=folder, capture_output=True, text=True).stdout
    names = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
    fits = [name for name in names if name == test or name.endswith(f"::{test}")]
    if len(fits) != 1:
        raise Failed(f"{len(fits)} tests are called {test}: {', '.join(fits)}")
    return fits[0]


def run_test(program, folder, name, backend, limit):
    """Whether the test passed, `None` if it was stopped, and what it said."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("REVEILLE_")}
    # By the names of the functions it is seen which part of a test has failed.
    env |= {"RUST_BACKTRACE": "1", "LOOM_MAX_PREEMPTIONS": "2", "CARGO_MANIFEST_DIR": folder}
    if backend:
        env["REVEILLE_BACKEND"] = backend
    code, out, said = run([program, name, "--exact", "--nocapture"], folder, env, limit)
    return None if code is None else code == 0, out + said


def has_failed(test, by, passed, said):
    """Whether it was this test that failed; one that is run by another is named by the report, or stands on the stack."""
    if passed:
        return False
    if by is None:
        return True
    name = re.escape(last(test))
    return re.search(rf"^FAILED \S+ {name}, |::{name}(?:::|$)", said, re.M) is not None


def reason(test, passed, said):
    """What it said, in a line: of a case its own, of others the last panic, for some cause one that they catch."""
    if passed is None:
        return "it hangs"
    lines = said.splitlines()
    cases = [line for line in lines if line.startswith("FAILED ")]
    if cases:
        return next((line for line in cases if f" {last(test)}, " in line), cases[0])[:300]
    panics = [at for at, line in enumerate(lines) if "panicked at" in line]
    if panics:
        told = " ".join(lines[panics[-1] : panics[-1] + 5])
        return re.split(r" stack backtrace:| note: run with", told)[0][:300]
    return (lines or ["no word"])[-1][:200]


class Runner:
    def __init__(self, bench, why):
        self.bench, self.why = bench, why
        self.programs, self.names, self.took = {}, {}, {}

    def begin(self, mutants):
        """All tests that are to fail must pass as long as nothing is changed."""
        faults = []
        for target in unique(m.target for m in mutants):
            begun = time.monotonic()
            program, error = self.bench.build(target)
            if error:
                raise Failed(f"{target} does not build: {error}")
            runs = unique(r for m in mutants if m.target == target for r in m.runs())
            for key in runs:
                _, test, backend = key
                self.names[key] = full_name(program, self.bench.tree, test)
                # Twice: what other processes of the machine may do to a test is not asked here.
                for _ in range(2):
                    start = time.monotonic()
                    passed, said = run_test(program, self.bench.tree, self.names[key], backend, FIRST_LIMIT)
                    self.took[key] = time.monotonic() - start
                    if passed:
                        break
                else:
                    faults.append(f"{target} {test} fails though nothing is changed: {reason(test, passed, said)}")
            print(f"unchanged       {target}: {len(runs)} tests, {time.monotonic() - begun:.0f} s", flush=True)
        if faults:
            raise Failed("\n        ".join(faults))

    def judge(self, mutant):
        """The verdict, and more about it."""
        text = self.bench.read(mutant.file)
        if (count := text.count(mutant.text)) != 1:
            return "does not apply", [f"its text stands {count} times in {mutant.file}"]
        self.bench.change(mutant.file, text.replace(mutant.text, mutant.becomes))
        try:
            program, error = self.bench.build(mutant.target)
            if error:
                return "does not build", [error]
            return self.run_tests(mutant, program)
        finally:
            self.bench.change(mutant.file, text)

    def run_tests(self, mutant, program):
        done, passed_by, notes = {}, [], []
        for test, key in zip(mutant.tests, mutant.runs()):
            if key not in done:
                limit = max(mutant.limit, AGAIN_LIMIT + AGAIN_TIMES * self.took[key])
                done[key] = run_test(program, self.bench.tree, self.names[key], mutant.backend, limit)
            passed, said = done[key]
            if not has_failed(test, mutant.by, passed, said):
                passed_by.append(test)
            if self.why:
                notes.append(f"{test}: {'passed' if passed else reason(test, passed, said)}")
        if passed_by:
            return "SURVIVED", [f"passed: {', '.join(passed_by)}", *notes]
        return "caught", notes


def unique(items):
    return list(dict.fromkeys(items))


def chosen(mutants, options, rows):
    """The mutations that are asked for, those of one test binary together, and of one file in it."""
    wanted = rows
    if options.sample:
        seed = options.seed or subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip() or "none"
        wanted = random.Random(seed).sample(rows, min(options.sample, len(rows)))
        print(f"--sample {options.sample} --seed {seed}: {', '.join(wanted)}")
    elif options.rows:
        wanted = options.rows
    picked = [m for m in mutants if any(row in wanted for row in m.rows)]
    return sorted(picked, key=lambda m: (m.target == "loom", m.target, m.file))


def has_io_uring():
    """Asks for rings that nobody can make: who has io_uring says that the pointer is bad."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(425, 1, None)
    return ctypes.get_errno() == errno.EFAULT


def work_folder(options):
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    work = os.path.abspath(options.work or os.path.join(target, "ci-mutants"))
    if (work + os.sep).startswith(ROOT + os.sep) and not work.startswith(os.path.join(ROOT, "target") + os.sep):
        raise Failed(f"{work} lies in the tree")
    return work


def show(mutants, nothing):
    for mutant in mutants:
        by = f" (by {mutant.by})" if mutant.by else ""
        print(f"{mutant.name()}\n    {mutant.file}; {mutant.target}: {', '.join(mutant.tests)}{by}")
    for row, why in nothing.items():
        print(f"{row}: nothing is taken out: {why}")
    left = unneeded(mutants)
    print(f"\n{len(mutants)} mutations. Tests of the page that none of them needs, by row:")
    for row, tests in left.items():
        print(f"    {row}: {', '.join(tests)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--sample", type=int, metavar="N")
    parser.add_argument("--seed", metavar="TEXT")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--why", action="store_true")
    parser.add_argument("--work", metavar="DIR")
    options = parser.parse_args()
    mutants, nothing = load()
    rows = list(page_rows())
    for row in options.rows:
        if row not in rows:
            parser.error(f"{PAGE} has no row {row}")
    if options.list:
        show(mutants, nothing)
        return 0
    faults = check(mutants, nothing)
    if options.check:
        for fault in faults:
            print(f"FAILED  {fault}")
        if not faults:
            print(f"{len(mutants)} mutations for {len(rows) - len(nothing)} of {len(rows)} rows fit the page and the sources")
        return 1 if faults else 0

    begun = time.monotonic()
    picked = chosen(mutants, options, rows)
    if not has_io_uring():
        for mutant in [m for m in picked if m.is_about_io_uring()]:
            picked.remove(mutant)
            print(f"skipped         {mutant.name()}: no io_uring here")
    bench = Bench(work_folder(options))
    runner = Runner(bench, options.why)
    runner.begin([m for m in picked if occurrences(m) == 1])
    counts = collections.Counter()
    for mutant in picked:
        start = time.monotonic()
        verdict, notes = runner.judge(mutant)
        counts[verdict] += 1
        print(f"{verdict:14}  {mutant.name()}  ({time.monotonic() - start:.0f} s)", flush=True)
        for note in notes:
            print(f"                {note}", flush=True)
    print(f"{sum(counts.values())} mutations, {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}, "
          f"{time.monotonic() - begun:.0f} s")
    return 0 if counts["caught"] == len(picked) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failed as error:
        print(f"FAILED  {error}")
        sys.exit(1)
